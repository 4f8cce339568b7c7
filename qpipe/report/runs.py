"""Finding runs and reading what they left behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from qpipe.core.layout import RunPaths
from qpipe.errors import UsageError, nearest

LATEST = "latest"


def find_run(name: str, runs: Path) -> RunPaths:
    """The run of that name below ``runs``, of that folder, or (``latest``) the newest.

    Raises UsageError if there is none.
    """
    if name == LATEST:
        return RunPaths(runs / _newest(runs))
    for folder in (runs / name, Path(name)):
        if RunPaths(folder).summary.is_file():
            return RunPaths(folder)
    if (runs / name).is_dir():
        raise UsageError(
            f"run {name}: {RunPaths(runs / name).summary} is not there; the run was interrupted or "
            "is still going on (run its command again to finish it)"
        )
    raise UsageError(
        f"there is no run {name!r} in {runs}; {nearest(name, [LATEST, *_names(runs)])}"
    )


def read_summary(run: RunPaths) -> dict[str, Any]:
    """A run's run.json. Raises UsageError if it is damaged."""
    try:
        document = json.loads(run.summary.read_bytes())
        rows, nodes = document["rows"], document["nodes"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{run.summary}: it cannot be read as the summary of a run ({type(error).__name__}: "
            f"{error}); run its command again: what is cached is not made again"
        ) from None
    if not (isinstance(rows, list) and isinstance(nodes, list)):
        raise UsageError(f"{run.summary}: rows and nodes must be lists; run its command again")
    return dict(document)


def _names(runs: Path) -> list[str]:
    if not runs.is_dir():
        return []
    return [folder.name for folder in runs.iterdir() if RunPaths(folder).summary.is_file()]


def _newest(runs: Path) -> str:
    names = _names(runs)
    if not names:
        raise UsageError(f"there is no finished run in {runs} yet; --runs DIR names another folder")
    return max(names, key=lambda name: (RunPaths(runs / name).summary.stat().st_mtime_ns, name))
