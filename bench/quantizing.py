"""Safetensors to quantized GGUF in one pass, beside llama.cpp's own way, both with two threads.

The usual path converts once in a round, which is counted for each of its levels, and once for a
sweep, whose levels are one pass of ours. What the two write is compared tensor by tensor first.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench import llamacpp, qwen2
from bench.measure import Bench, Row, Spent, call, spent
from bench.onepass import THREADS

_ROOT = Path(__file__).parents[1]


class Level(NamedTuple):
    """A quantization name, and the shares of the usual path's CPU and wall time it may take."""

    type: str
    cpu: float
    wall: float | None = None
    weighted: bool = False

    def __str__(self) -> str:
        return f"{self.type} with imatrix" if self.weighted else self.type


class Pair(NamedTuple):
    """What a level took on either way."""

    ours: Spent
    theirs: Spent


class Round(NamedTuple):
    """What each level took, the conversion in it, and ours of all levels of the sweep at once."""

    levels: dict[Level, Pair]
    converted: Spent
    sweep: Spent


LEVELS = (
    Level("Q4_K_M", cpu=0.25, wall=0.3),
    Level("Q6_K", cpu=0.4),
    Level("Q5_K_M", cpu=0.4),
    Level("Q3_K_M", cpu=0.4),
    Level("Q2_K", cpu=0.4),
    Level("Q8_0", cpu=0.5),
    Level("Q4_0", cpu=0.5),
    Level("Q4_K_M", cpu=0.35, weighted=True),
)

SWEEP = [level for level in LEVELS if level.type != "Q3_K_M" and not level.weighted]


def rows(bench: Bench) -> list[Row]:
    """CPU and wall time of each level, memory of one model and of a deeper one, bytes written."""
    if unset := llamacpp.missing():
        print(f"quantizing skipped, nothing to measure against: set {unset}", file=sys.stderr)
        return []
    model = _Model(bench, qwen2.LAYERS)
    model.compare()  # which compiles the kernels too
    rounds = [model.round() for _ in range(bench.rounds)]
    return [
        *(row for level in LEVELS for row in _times(level, [r.levels[level] for r in rounds])),
        *_sweep(rounds),
        *_memory(model, _Model(bench, 2 * qwen2.LAYERS)),
        *_written(model, rounds[-1].levels[LEVELS[0]]),
    ]


def _times(level: Level, pairs: Sequence[Pair]) -> Iterator[Row]:
    limits = {"cpu": level.cpu, "wall": level.wall}
    for what, limit in limits.items():
        ours, theirs = (median(getattr(s, what) for s in way) for way in zip(*pairs, strict=True))
        yield Row(f"{level}, {what}", ours, "s", llamacpp.NAME, theirs, limit)


def _sweep(rounds: Sequence[Round]) -> Iterator[Row]:
    """All levels of the sweep in one pass, beside a pass for each, and beside the usual path."""
    what, alone = f"{len(SWEEP)} levels in one pass", "a pass for each of them"
    for of in ("cpu", "wall"):
        ours = median(getattr(one.sweep, of) for one in rounds)
        passes = median(sum(getattr(one.levels[x].ours, of) for x in SWEEP) for one in rounds)
        theirs = median(
            sum(getattr(one.levels[x].theirs, of) for x in SWEEP)
            - (len(SWEEP) - 1) * getattr(one.converted, of)
            for one in rounds
        )
        yield Row(f"{what}, {of}", ours, "s", alone, passes, limit=1.0)
        yield Row(f"{what}, {of}", ours, "s", llamacpp.NAME, theirs)


def _memory(model: _Model, deeper: _Model) -> Iterator[Row]:
    peaks = {level: model.ours(level) / 1e6 for level in LEVELS}
    level = max(LEVELS, key=peaks.__getitem__)
    yield Row(f"peak memory, {level}, which takes most", peaks[level], "MB", limit=700)
    yield Row(f"the same, {len(SWEEP)} levels", model.ours(*SWEEP) / 1e6, "MB", limit=700)
    what, peer = (f"{one.layers} layers" for one in (deeper, model))
    yield Row(f"the same, {what}", deeper.ours(level) / 1e6, "MB", peer, peaks[level], limit=1.1)


def _written(model: _Model, pair: Pair) -> Iterator[Row]:
    """Bytes on their way to the disk beside the file itself, if its file system counts them."""
    size = model.out("ours", LEVELS[0]).stat().st_size
    if pair.ours.written >= size:
        ours, theirs = ((way.written - size) / 1e6 for way in pair)
        yield Row("temporary disk", ours, "MB", llamacpp.NAME, theirs, limit=0.001)


class _Model:
    """A random checkpoint of ``layers``, and both ways from it to quantized files."""

    def __init__(self, bench: Bench, layers: int) -> None:
        self.layers = layers
        self._python = bench.python
        self._folder = bench.sub("quantizing")
        self._checkpoint = self._folder / f"qwen2-{layers}"
        call([self._python, "-m", "bench.qwen2", self._checkpoint, layers], cwd=_ROOT)
        self._usual = llamacpp.UsualPath(self._checkpoint, self._folder / "f16.gguf", THREADS)

    def out(self, way: str, level: Level) -> Path:
        return self._folder / f"{way}-{level.type}.gguf"

    def ours(self, *levels: Level) -> int:
        """Quantize in one pass; the most memory that this took, in bytes."""
        wanted = [
            "=".join(map(str, (self.out("ours", level), level.type, *self._weights(level))))
            for level in levels
        ]
        command = [self._python, "-m", "bench.onepass", self._checkpoint, *wanted]
        return int(call(command, cwd=_ROOT))

    def theirs(self, level: Level) -> None:
        """Quantize what was converted."""
        self._usual.quantize(level.type, self.out("theirs", level), *self._weights(level))

    def _weights(self, level: Level) -> list[Path]:
        return [self._checkpoint / qwen2.IMATRIX] if level.weighted else []

    def round(self) -> Round:
        """What every level takes, in turn on our way and on the other."""
        converted = spent(self._usual.convert)
        taken = {}
        for level in LEVELS:
            ours = spent(partial(self.ours, level))
            taken[level] = Pair(ours, converted + spent(partial(self.theirs, level)))
        return Round(taken, converted, spent(partial(self.ours, *SWEEP)))

    def compare(self) -> None:
        """Raise RuntimeError unless all levels are the same on both ways, byte for byte."""
        self._usual.convert()
        for level in LEVELS:
            self.ours(level)
            self.theirs(level)
            llamacpp.require_same(self.out("ours", level), self.out("theirs", level), str(level))
