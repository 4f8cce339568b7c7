"""Removing one artifact, one run's folder, or the folders of old runs."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from qpipe.core import gc
from qpipe.core.digests import Digests
from qpipe.core.store import ArtifactStore
from qpipe.core.worth import Candidate
from qpipe.errors import StoreError, UsageError
from qpipe.machine.filesystem import remove_tree
from qpipe.session import run_states
from qpipe.session.run_models import MODELS

LATEST = run_states.LATEST
_ENDED = ("done", "failed", "interrupted")


class EndedRun(NamedTuple):
    """A run's folder that may go, or its models: its name, how it ended, the bytes that removing it
    frees, and those that stay, since the store or other runs have these files too."""

    name: str
    path: Path
    status: str
    freed: int
    held: int = 0


class Removal(NamedTuple):
    """Targets of a removal: artifacts, and runs' folders."""

    artifacts: Sequence[Candidate]
    runs: Sequence[EndedRun]

    @property
    def freed(self) -> int:
        """Bytes that removing all of it frees, what two of them share left out."""
        return sum(c.size for c in self.artifacts) + sum(run.freed for run in self.runs)


def named(
    names: Iterable[str], *, store: ArtifactStore, runs: Path, models: bool = False
) -> Removal:
    """Find what is meant by names of runs and beginnings of keys; nothing is removed yet. Of runs
    only the links to ``models``, if that is asked for.

    Raises UsageError for a name that is neither, StoreError for what a living run uses or a pin
    keeps.
    """
    states = {record["name"]: record for record in run_states.states(str(runs))}
    keys: dict[str, None] = {}
    ended: dict[str, EndedRun] = {}
    for name in names:
        run = next(iter(states), name) if name == LATEST else name
        if run in states:
            ended[run] = _checked(states[run], store, models=models)
        elif models:
            raise UsageError(f"{name!r} is no run in {runs}; --models takes the links of runs")
        else:
            keys[_key(name, store, runs)] = None
    return Removal(_artifacts(store, keys), [*ended.values()])


def old_runs(age: float, *, store: ArtifactStore, runs: Path, models: bool = False) -> Removal:
    """Find the runs that ended more than ``age`` seconds ago and are not pinned; of these only the
    links to ``models``, if that is asked for."""
    before = time.time() - age
    return Removal(
        [],
        [
            _ended(record, models=models)
            for record in run_states.states(str(runs))
            if record["status"] in _ENDED
            and record["started"] + record["seconds"] < before
            and not (store.paths.pins / record["name"]).exists()
            and (not models or Path(record["path"], MODELS).is_dir())
        ],
    )


def remove(removal: Removal, *, store: ArtifactStore) -> None:
    """Remove what was found. Raises StoreError for what cannot be removed."""
    for run in removal.runs:
        try:
            _remove_run(run.path, store.digests)
        except OSError as error:
            raise StoreError(f"{run.path}: cannot be removed ({error.strerror})") from error
    if removal.artifacts:
        keys = {candidate.key for candidate in removal.artifacts}
        _refuse(gc.collect(store, max_age=-math.inf, only=keys).kept)


def _key(name: str, store: ArtifactStore, runs: Path) -> str:
    keys = [key for key in store.all_keys() if name and key.startswith(name)]
    if not keys:
        raise UsageError(
            f"{name!r} is neither a run in {runs} nor the beginning of a key in "
            f"{store.paths.root}; `qpipe runs` and `qpipe ls` list them"
        )
    return store.find(name)


def _artifacts(store: ArtifactStore, keys: Iterable[str]) -> Sequence[Candidate]:
    choice = gc.collect(store, max_age=-math.inf, only={*keys}, dry_run=True)
    _refuse(choice.kept)
    return choice.removed


def _refuse(kept: Sequence[Candidate]) -> None:
    """Raises StoreError for artifacts that gc did not take, for the first of them."""
    for candidate in kept:
        raise StoreError(
            f"artifact {candidate.key[:12]} ({candidate.name}) is {candidate.spared}; "
            "`qpipe unpin RUN` lets go of a pinned run, and a process lets go when it ends"
        )


def _checked(record: run_states.Record, store: ArtifactStore, *, models: bool) -> EndedRun:
    name = record["name"]
    if record["status"] == "running":
        raise StoreError(f"run {name} is still running; end it with Ctrl-C, or wait until it ends")
    if (store.paths.pins / name).exists():
        raise StoreError(f"run {name} is pinned; `qpipe unpin {name}` lets go of it")
    return _ended(record, models=models)


def _ended(record: run_states.Record, *, models: bool) -> EndedRun:
    path = Path(record["path"], MODELS if models else "")
    stats = [p.lstat() for p in path.rglob("*") if p.is_file() and not p.is_symlink()]
    freed = sum(stat.st_size for stat in stats if stat.st_nlink == 1)
    held = sum(stat.st_size for stat in stats if stat.st_nlink > 1)
    return EndedRun(record["name"], path, record["status"], freed, held)


def _remove_run(folder: Path, digests: Digests) -> None:
    """Remove a run's folder; what is known of files that the store holds too stays known."""
    for root, _, files in [] if folder.is_symlink() else os.walk(folder):
        for name in files:
            path = Path(root, name)
            if not path.is_symlink() and path.lstat().st_nlink > 1:
                digests.unlink(path)
    remove_tree(folder)
