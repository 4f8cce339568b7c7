"""Finding runs and reading what they left behind."""

from __future__ import annotations

from pathlib import Path

from qpipe.core.layout import RunPaths
from qpipe.errors import UsageError, nearest
from qpipe.report.checked import Summary, summary
from qpipe.support import strict_json
from qpipe.support.files import is_file, is_folder

LATEST = "latest"
_MOST = 50_000_000


def find_run(name: str, runs: Path) -> RunPaths:
    """Find a run by its name below ``runs``, by its folder, or (``latest``) as the newest.

    Raises UsageError if there is none.
    """
    if not name:
        raise UsageError(
            f"'' names no run: give a name below {runs}, a run's folder, or {LATEST!r}"
        )
    if name == LATEST:
        return RunPaths(runs / _newest(runs))
    for folder in (runs / name, Path(name)):
        if is_file(RunPaths(folder).summary):
            return RunPaths(folder)
    if is_folder(runs / name):
        raise UsageError(
            f"run {name}: {RunPaths(runs / name).summary} is not there; the run was interrupted or "
            "is still going on (run its command again to finish it)"
        )
    names = _names(runs)
    hint = nearest(name, [LATEST, *names]) if names else _none_yet(runs)
    raise UsageError(f"there is no run {name!r} in {runs}; {hint}")


def read_summary(run: RunPaths) -> Summary:
    """Read a run's run.json. Raises UsageError for what `checked.summary` does not take."""
    try:
        document = strict_json.load(run.summary, UsageError, most=_MOST)
    except UsageError as error:
        raise UsageError(
            f"{error}; it cannot be read as the summary of a run: run its command again (what is "
            "cached is not made again)"
        ) from None
    return summary(document, run.summary)


def _names(runs: Path) -> list[str]:
    if not is_folder(runs):
        return []
    try:
        folders = list(runs.iterdir())
    except OSError as error:
        raise UsageError(f"{runs}: this folder cannot be read ({error.strerror})") from None
    return [folder.name for folder in folders if is_file(RunPaths(folder).summary)]


def _none_yet(runs: Path) -> str:
    return f"there is no finished run in {runs} yet; --runs DIR names another folder"


def _newest(runs: Path) -> str:
    names = _names(runs)
    if not names:
        raise UsageError(_none_yet(runs))
    return max(names, key=lambda name: (RunPaths(runs / name).summary.stat().st_mtime_ns, name))
