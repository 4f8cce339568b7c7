"""What a guided sweep takes to find the front that a whole grid of levels has.

24 GGUF levels of tinystories-d256 by KL divergence, on two texts. The grid and the guided sweep are
whole commands, each from a store of its own that has the models; tokens are those that the record
of the guided one says, without the reference's pass, which both have. Then the same rule on the
grid's own windows in many other random orders, which shows how far one order was luck.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.measure import Bench, Row, call, spent
from qpipe.evaluators.text.rivals import SUMS, MeasuredLevel, unbeaten
from qpipe.sources.pinning import DATA
from tests.evaluators.replay import replayed

LEVELS = (
    *("BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q5_1", "Q5_0", "Q4_K_M", "Q4_K_S", "Q4_1"),
    *("Q4_0", "IQ4_NL", "IQ4_XS", "Q3_K_L", "Q3_K_M", "Q3_K_S", "IQ3_M", "IQ3_S", "IQ3_XS"),
    *("IQ3_XXS", "Q2_K", "Q2_K_S", "IQ2_M", "IQ2_S"),
)
TEXTS = {
    "heldout": DATA / "texts" / "tinystories_lower_heldout.txt",
    "train": DATA / "texts" / "tinystories_lower_train.txt",
}
_N_CTX, _ORDERS, _CONFIDENCE = 256, 200, 0.95
_LIMIT = 0.4
_Array = npt.NDArray[np.float64]


def rows(bench: Bench) -> list[Row]:
    """Tokens and wall seconds of both for each text; shares and errors over random orders."""
    found: list[Row] = []
    for name in TEXTS:
        found += _commands(bench, name)
        found += _orders(_grid(bench, name), name)
    return found


def _commands(bench: Bench, text: str) -> list[Row]:
    grid = _grid(bench, text)
    guided, cost = _run(bench, text, "guided", "hydra/sweeper=qpipe_pareto")
    (compared,) = guided["sweep"]["compared"]
    front = [level.format for level in unbeaten(_levels(grid))]
    same = compared["found"] == front
    if not same:
        print(f"{text}: {compared['found']} for {front}", file=sys.stderr)
    peer, tokens = f"the grid of {len(LEVELS)} levels", compared["tokens_of_all"]
    return [
        Row(f"guided sweep, {text}: tokens", compared["tokens"], "tokens", peer, tokens,
            limit=_LIMIT),
        Row(f"guided sweep, {text}: fronts that differ", float(not same), "fronts", limit=0),
        Row(f"guided sweep, {text}: wall", cost, "s", peer, grid["seconds"]),
    ]  # fmt: skip


@cache
def _grid(bench: Bench, text: str) -> dict[str, Any]:
    """The record of a plain sweep, with the seconds that it took."""
    document, seconds = _run(bench, text, "grid")
    return {**document, "seconds": seconds}


def _run(bench: Bench, text: str, kind: str, *more: str) -> tuple[dict[str, Any], float]:
    """The record of a sweep, and its wall seconds; models are made before."""
    folder = bench.sub(f"guided_sweep-{kind}")
    asked = [
        *("local", "model.source=builtin:tinystories-d256", "imatrix=calibrated", "evaluate=kld"),
        *(f"evaluate.text={TEXTS[text]}", f"evaluate.n_ctx={_N_CTX}"),
    ]
    swept = ["-m", f"quantize.type={','.join(LEVELS)}"]
    store = ["--store", folder / "store", "--runs", folder / "runs"]
    run = [bench.python, "-m", "qpipe", "run"]
    unmeasured = [word for word in asked if not word.startswith("evaluate")]
    call([*run, *unmeasured, "evaluate=none", *swept, *store], cwd=folder)
    answer: list[str] = []
    cost = spent(lambda: answer.append(call([*run, *asked, *swept, *more, "--json", *store],
                                            cwd=folder)))  # fmt: skip
    document: dict[str, Any] = json.loads(answer[0])
    return document, cost.wall


def _levels(grid: dict[str, Any]) -> list[MeasuredLevel]:
    """The levels of the grid, as they were measured."""
    return [
        MeasuredLevel(
            row["key"], row["name"], row["size_bytes"], each["kld"],
            np.load(Path(each["artifact"]) / SUMS),
        )
        for row in grid["rows"]
        for each in [
            {**m, "kld": row["kld"]} for m in row["measurements"] if m["metric"] == "kld"
        ]
    ]  # fmt: skip


def _orders(grid: dict[str, Any], text: str) -> list[Row]:
    levels = _levels(grid)
    sizes, sums = [level.size_bytes for level in levels], np.array([lv.sums for lv in levels])
    front = [level.format for level in unbeaten(levels)]
    shares, wrong = [], 0
    for seed in range(_ORDERS):
        order = np.random.default_rng(seed).permutation(sums.shape[1]).tolist()
        left, taken = searched(sums, sizes, order)
        wrong += [levels[number].format for number in left] != front
        shares.append(taken / sums[..., 0].size)
    what = f"guided sweep, {text}, {_ORDERS} random orders"
    return [
        Row(f"{what}: share of tokens, mean", float(np.mean(shares)), "", limit=_LIMIT),
        Row(f"{what}: share of tokens, most", float(np.max(shares)), ""),
        Row(f"{what}: fronts that differ", wrong / _ORDERS, "", limit=1 - _CONFIDENCE),
    ]


def searched(sums: _Array, sizes: Sequence[int], order: Sequence[int]) -> tuple[list[int], int]:
    """The levels that are found in windows taken in this order, smallest first, and the windows
    that this took; ``sums`` [levels, windows, 2]."""
    standing, taken = replayed(sums, sizes, order, tokens=_N_CTX / 2 - 1, confidence=_CONFIDENCE)
    return [int(level.name) for level in standing.left], taken
