"""A checkpoint to quantized files by `qpipe run`, from the command's start to the whole artifacts,
and by llama.cpp's converter and llama-quantize, both with two threads.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

from bench import llamacpp
from bench.measure import Bench, Row, Spent, call, spent
from bench.onepass import THREADS

_ROOT = Path(__file__).parents[1]
_OFFLINE = {"HF_HUB_OFFLINE": "1"}


def offline() -> dict[str, str]:
    """The environment of a command that asks no hub."""
    return {**os.environ, **_OFFLINE}


class Model:
    """A model of `bench.models`, and both ways from it to files."""

    def __init__(self, bench: Bench, name: str, *, threads: int = THREADS) -> None:
        self._bench, self.name, self._threads = bench, name, threads
        self.folder = bench.sub(f"recipes-{name}")
        self.checkpoint = self.folder / name
        call([bench.python, "-m", "bench.models", name, self.checkpoint], cwd=_ROOT)
        self.usual = llamacpp.UsualPath(self.checkpoint, self.folder / "f16.gguf", threads)

    def ours(self, *levels: str) -> dict[str, Path]:
        """The files of all levels, made in one command and an empty store."""
        store = self.folder / "store"
        _remove(store)
        out = call(
            [self._bench.qpipe, "run", "local", f"model.source={self.checkpoint}", "evaluate=none",
             f"executor.cpus={self._threads}", "-m", f"quantize.type={','.join(levels)}",
             "--store", store, "--json"],
            cwd=self.folder, env=offline(),
        )  # fmt: skip
        return {row["format"]: Path(row["path"]) for row in json.loads(out)["rows"]}

    def theirs(self, *levels: str) -> dict[str, Path]:
        """The same, converted once."""
        self.usual.convert()
        outs = {level: self.folder / f"{level}.gguf" for level in levels}
        for level, out in outs.items():
            self.usual.quantize(level, out)
        return outs

    def compare(self, *levels: str) -> None:
        """Raise RuntimeError unless both ways give the same tensors, byte for byte; compiles the
        kernels too."""
        ours, theirs = self.ours(*levels), self.theirs(*levels)
        for level in levels:
            llamacpp.require_same(ours[level], theirs[level], level)

    def remove(self) -> None:
        """Free the disk."""
        _remove(self.folder)


def skipped(name: str) -> bool:
    """True, and said of the benchmark ``name``, where llama.cpp's own way cannot be gone."""
    if unset := llamacpp.missing():
        print(f"{name} skipped, nothing to measure against: set {unset}", file=sys.stderr)
    return bool(unset)


def pairs(ways: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, list[Spent]]:
    """What each way takes, in turn, round after round."""
    taken: dict[str, list[Spent]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, work in ways.items():
            taken[way].append(spent(work))
    return taken


def rows(
    what: str, ours: Sequence[Spent], peer: str, theirs: Sequence[Spent],
    *, cpu: float | None, wall: float | None,
) -> list[Row]:  # fmt: skip
    """CPU and wall time: the medians, with limits of their ratios."""
    limits = {"cpu": cpu, "wall": wall}
    return [
        Row(
            f"{what}, {of}",
            median(getattr(one, of) for one in ours),
            "s",
            peer,
            median(getattr(one, of) for one in theirs),
            limit,
        )
        for of, limit in limits.items()
    ]


def _remove(folder: Path) -> None:
    """A folder away; artifacts are read-only."""
    if folder.exists():
        for path in [folder, *folder.rglob("*")]:
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)
        shutil.rmtree(folder)
