"""What can be done with runs that have ended: compare their models, keep what they made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from qpipe.errors import StoreError, UsageError
from qpipe.report.runs import LATEST, find_run, read_summary
from qpipe.session import run_states
from qpipe.support.files import is_file

if TYPE_CHECKING:
    from qpipe.core.layout import RunPaths
    from qpipe.recipe.request import Request
    from qpipe.report.runs import Summary
    from qpipe.results.comparison import Comparison


class MergedRuns(NamedTuple):
    """The comparison of several runs, and their names as a title."""

    comparison: Comparison
    title: str
    runs: Sequence[Summary]

    @property
    def unfinished(self) -> list[str]:
        """A sentence on each run that has not come to its end."""
        return [
            f"run {run.run} is not finished ({run.about['status']}): "
            f"{sum(node['status'] != 'waiting' for node in run.nodes)} of {len(run.nodes)} nodes "
            f"have ended; `qpipe run {run.run}` goes on with it"
            for run in self.runs
            if run.about["status"] in ("running", "interrupted")
        ]


class PinnedRun(NamedTuple):
    """A run by its name, the keys of what it made, and those that are not in the store any more."""

    name: str
    keys: Sequence[str]
    missing: Sequence[str]


def merged_runs(names: Sequence[str], runs: Path) -> MergedRuns:
    """Compare the models of runs. Raises UsageError for an unknown or damaged run."""
    from qpipe.report.runs import merge

    paths = [find_run(name, runs) for name in dict.fromkeys(names)]
    summaries = [_now(read_summary(path), path) for path in paths]
    title = ", ".join(path.root.resolve().name for path in paths)
    return MergedRuns(merge(summaries), title, summaries)


def _now(run: Summary, paths: RunPaths) -> Summary:
    """The run with the status that it has now: one that was killed could not say so."""
    if run.about["status"] != "running":
        return run
    status = run_states.summary(str(paths.root), run.run)["status"]
    return run._replace(about={**run.about, "status": status})


class RepeatedRun(NamedTuple):
    """The request of an earlier run, the folder in which it was made, and its store."""

    request: Request
    folder: Path
    store: Path


def repeated(name: str, runs: Path) -> RepeatedRun:
    """Read what a run was asked to do.

    Raises UsageError where there is no such run, and for one of an older qpipe, which kept no
    command.
    """
    from qpipe.recipe.request import Request

    paths = find_run(name, runs)
    about = read_summary(paths).about
    if about["recipe"] is None or about["folder"] is None or about["store"] is None:
        raise UsageError(
            f"run {name}: an older qpipe made it, and kept no command in {paths.summary}; give the "
            "command itself again"
        )
    if (about["command"] or ())[:2] == ["qpipe", "repro"]:
        raise UsageError(
            f"run {name} is not of a recipe: `{' '.join(about['command'])}` made it; give that "
            f"command again in {about['folder']}"
        )
    folder = Path(about["folder"])
    recipe = str(folder / about["recipe"])
    request = Request(
        recipe if is_file(Path(recipe)) else about["recipe"],
        tuple(about["overrides"] or ()),
        multirun=bool(about["multirun"]),
    )
    return RepeatedRun(request, folder, Path(about["store"]))


def write_report(path: Path, text: str) -> None:
    """Write a report. Raises StoreError where that cannot be."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{path}: the report cannot be written there ({error.strerror})") from None


def pin(run: str, *, store: Path, runs: Path) -> PinnedRun:
    """Keep a run's artifacts from gc. Raises UsageError for an unknown run, StoreError if none of
    them is in the store."""
    from qpipe.core import gc
    from qpipe.core.store import ArtifactStore

    paths, opened = find_run(run, runs), ArtifactStore(store)
    name = paths.root.resolve().name
    keys = [node["key"] for node in read_summary(paths).nodes if node["key"]]
    missing = [key for key in keys if not opened.paths.artifact(key).is_dir()]
    if keys and len(missing) == len(keys):
        raise StoreError(
            f"none of the {len(keys)} artifacts of run {name} is in {store}; name their store "
            "with --store, or run the recipe again"
        )
    gc.pin(opened, name, keys)
    return PinnedRun(name, keys, missing)


def unpin(run: str, *, store: Path, runs: Path) -> str:
    """Let gc have a run's artifacts again, and return its name. Raises StoreError if it is not
    pinned, UsageError for ``latest`` where there is none."""
    from qpipe.core import gc
    from qpipe.core.store import ArtifactStore

    # The pin outlives the run's folder, so only `latest` needs to look there; '' names none.
    folder = find_run(run, runs).root if run in ("", LATEST) else Path(run)
    name, opened = folder.resolve().name, ArtifactStore(store)
    try:
        gc.unpin(opened, name)
    except OSError as error:
        raise opened.explain(error) from error
    return name
