"""A mixture of experts of about a billion weights to Q4_K_M: many small matrices."""

from __future__ import annotations

from functools import partial

from bench import llamacpp, making
from bench.measure import Bench, Row
from bench.memory import peak

LEVEL = "Q4_K_M"


def rows(bench: Bench) -> list[Row]:
    """CPU and wall time, and memory of all processes."""
    if making.skipped("experts"):
        return []
    model = making.Model(bench, "mixtral")
    model.compare(LEVEL)
    taken = making.pairs(
        {"ours": partial(model.ours, LEVEL), "theirs": partial(model.theirs, LEVEL)},
        rounds=bench.rounds,
    )
    what = f"{LEVEL} of 512 experts"
    memory = peak(partial(model.ours, LEVEL)).mapped / 1e6
    model.remove()
    return [
        *making.rows(what, taken["ours"], llamacpp.NAME, taken["theirs"], cpu=0.25, wall=0.3),
        Row(f"{what}, peak memory", memory, "MB", limit=400),
    ]
