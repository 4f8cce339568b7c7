"""Multiple choice on a GGUF file, beside lm-eval's HFLM on the same file dequantized to float32.

The task is tests/data/tasks/stories: 100 questions with 4 choices, 5 examples that all share. Both
run through lm-eval's `evaluate` with two threads; loading the model is not counted.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from bench.measure import Bench, Row, call
from qpipe.gguf import convert, quantize
from qpipe.sources.pinning import DATA

_ROOT = Path(__file__).parents[1]
_LEVELS = ("Q8_0", "Q4_0")
# A question whose two likeliest answers are closer than this, in nats, is a tie: llama.cpp rounds
# activations to 8 bits.
_TIE = 0.25

Answers = Sequence[Sequence[float]]


def rows(bench: Bench) -> list[Row]:
    """Items a second of each level, and on how many questions the two answer differently."""
    return [row for level in _LEVELS for row in _level(bench, level)]


def _level(bench: Bench, level: str) -> list[Row]:
    folder = bench.sub(f"tasks-{level}")
    source = convert.prepare(DATA / "tinystories-d256", outtype="F16")
    quantize.quantize(source, folder / "model.gguf", ftype=level, threads=2)
    runs = [
        {way: _run(bench, way, folder) for way in ("ours", "hflm")} for _ in range(bench.rounds)
    ]
    ours, theirs = (median(run[way][0] for run in runs) for way in ("ours", "hflm"))
    answers, others = runs[0]["ours"][1], runs[0]["hflm"][1]
    items = len(answers)
    differing = sum(map(_differ, answers, others))
    return [
        Row(f"{level}, multiple choice, an item", 1e3 * ours / items, "ms",
            "HFLM, float32", 1e3 * theirs / items, limit=1 / 3),
        Row(f"{level}, other answers than HFLM's but for ties", differing, f"of {items}", limit=0),
    ]  # fmt: skip


def _run(bench: Bench, way: str, folder: Path) -> tuple[float, Answers]:
    found = json.loads(call([bench.python, "-m", "bench.asking", way, folder], cwd=_ROOT))
    return found["seconds"], found["answers"]


def _differ(ours: Sequence[float], theirs: Sequence[float]) -> bool:
    best, second = sorted(theirs, reverse=True)[:2]
    same = max(ours) == ours[theirs.index(best)]
    return not same and best - second >= _TIE
