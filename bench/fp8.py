"""A checkpoint in FP8 to Q4_K_M, beside the same model in BF16."""

from __future__ import annotations

from functools import partial

from bench import making
from bench.measure import Bench, Row

LEVEL = "Q4_K_M"


def rows(bench: Bench) -> list[Row]:
    """CPU time of either source, and wall time."""
    sources = {name: making.Model(bench, f"qwen3-{name}") for name in ("fp8", "bf16")}
    ways = {name: partial(model.ours, LEVEL) for name, model in sources.items()}
    for work in ways.values():
        work()  # compiles
    taken = making.pairs(ways, rounds=bench.rounds)
    for model in sources.values():
        model.remove()
    what, peer = f"{LEVEL} from FP8", "from BF16"
    return making.rows(what, taken["fp8"], peer, taken["bf16"], cpu=1.2, wall=None)
