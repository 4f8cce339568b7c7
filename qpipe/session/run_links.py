"""What runs' folders hold of the store: links under readable names, and the bytes behind them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qpipe.core.store import ArtifactStore
from qpipe.session import run_states
from qpipe.session.run_models import MODELS

Inode = tuple[int, int]
"""A device and the number of a file on it."""


@dataclass(frozen=True)
class Held:
    """The bytes that runs' folders hold of some artifacts, and the names of these runs, the oldest
    first; ``age`` is how many seconds ago the last of them ended."""

    bytes: int
    runs: Sequence[str]
    age: float


def linked(runs: Path) -> Mapping[Inode, Sequence[Path]]:
    """Return the files in the models' folders of all runs below ``runs`` that stand elsewhere too,
    by inode; of a symbolic link that of the file that it leads to."""
    files: dict[Inode, list[Path]] = {}
    for folder in sorted(runs.glob(f"*/{MODELS}")):
        for path in sorted(folder.rglob("*")):
            try:
                stat = path.stat()
            except OSError:  # leads to what gc has taken
                continue
            if path.is_file() and (stat.st_nlink > 1 or path.is_symlink()):
                files.setdefault((stat.st_dev, stat.st_ino), []).append(path)
    return files


class HeldByRuns:
    """The bytes that runs hold of the artifacts of a store now: gc may change that."""

    def __init__(self, store: ArtifactStore, runs: Path) -> None:
        """Look at every file of runs' models, and of artifacts, if there are any."""
        self._runs = runs
        self._links = {
            inode: [path for path in paths if not path.is_symlink()]
            for inode, paths in linked(runs).items()
        }
        keys = store.all_keys() if self._links else ()
        self._files = {key: self._held_of(store.paths.artifact(key)) for key in keys}

    def of(self, keys: Iterable[str]) -> Held | None:
        """Return what is held of artifacts; None if it is nothing."""
        sizes: dict[Inode, int] = {}
        for key in keys:
            sizes |= self._files.get(key, {})
        if not sizes:
            return None
        paths = (path for inode in sizes for path in self._links[inode])
        names = {path.relative_to(self._runs).parts[0] for path in paths}
        records = [run_states.summary(str(self._runs / name), name) for name in names]
        ends = {record["name"]: record["started"] + record["seconds"] for record in records}
        oldest_first = sorted(ends, key=lambda name: (ends[name], name))
        age = max(0.0, time.time() - ends[oldest_first[-1]])
        return Held(sum(sizes.values()), oldest_first, age)

    def _held_of(self, folder: Path) -> dict[Inode, int]:
        """The files of an artifact that a run holds, and their bytes."""
        sizes: dict[Inode, int] = {}
        for root, _, names in os.walk(folder):
            for name in names:
                stat = Path(root, name).lstat()
                if self._links.get((stat.st_dev, stat.st_ino)):
                    sizes[stat.st_dev, stat.st_ino] = stat.st_size
        return sizes
