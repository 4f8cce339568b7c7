"""`qpipe attest` of a ladder of 17 files, beside deriving them by llama.cpp's converter and
llama-quantize, on all cores of this machine.

The files that are attested are those that llama.cpp has just made; the kernels are compiled before.
QPIPE_BENCH_ATTEST names another model of `bench.models` than the one of 1.24 billion weights.
"""

from __future__ import annotations

import json
import os
from statistics import median

from bench import llamacpp, making
from bench.measure import Bench, Row, Spent, call, spent
from qpipe.machine.capacity import usable_cores

LADDER = (
    *("Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "IQ4_XS", "IQ4_NL", "Q4_0", "Q4_1"),
    *("Q4_K_S", "Q4_K_M", "Q5_0", "Q5_1", "Q5_K_S", "Q5_K_M", "Q6_K", "Q8_0", "F16"),
)
MODEL, WARM = "llama-3.2-1b", "llama-3.2-small"


def rows(bench: Bench) -> list[Row]:
    """CPU and wall time of both ways, medians of as many rounds as are asked for."""
    if making.skipped("attest"):
        return []
    name = os.environ.get("QPIPE_BENCH_ATTEST", MODEL)
    warm = making.Model(bench, WARM, threads=usable_cores())
    warm.theirs(*LADDER)
    _attest(bench, warm)
    warm.remove()
    model = making.Model(bench, name, threads=usable_cores())
    theirs, ours = [], []
    for _ in range(bench.rounds):
        theirs.append(spent(lambda: model.theirs(*LADDER)))
        ours.append(_attest(bench, model))
    model.remove()
    what = f"{len(LADDER)} files of {name} attested"
    return [
        Row(
            f"{what}, {of}",
            median(getattr(one, of) for one in ours),
            "s",
            llamacpp.NAME,
            median(getattr(one, of) for one in theirs),
            0.5,
        )
        for of in ("cpu", "wall")
    ]


def _attest(bench: Bench, model: making.Model) -> Spent:
    """What it takes. Raises RuntimeError unless all files are identical."""
    files = [model.folder / f"{level}.gguf" for level in LADDER]
    words = [bench.qpipe, "attest", *files, "--source", model.checkpoint, "--json"]
    answers: list[str] = []
    taken = spent(lambda: answers.append(call(words, cwd=model.folder, env=making.offline())))
    if not json.loads(answers[0])["identical"]:
        raise RuntimeError(f"{model.name}: a file is not identical")
    return taken
