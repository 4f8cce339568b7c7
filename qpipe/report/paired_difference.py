"""Two models item by item: the difference of their scores in tasks, and how sure it is.

Both answered the same items, so what counts is where they differ: the interval is far narrower
than the two standard errors suggest. Reads what evaluations of tasks left: result.json says how
items make a score, items.jsonl has the items.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from qpipe.results.scores import Difference

Items: TypeAlias = "dict[tuple[str, str], dict[tuple[Any, str], Mapping[str, float]]]"
"""(task, filter) → (doc_id, hashes of document and prompt) → the item's scores."""

_RESAMPLES = 10_000
_STEP = 1 << 24
_SEED = 0


class PairedScore(NamedTuple):
    """A score that is a weighted mean over items, on the same items under two models: its
    ``metric``, the ``filter`` of the answers, and for each task its weight and the items' scores
    (model, reference)."""

    metric: str
    filter: str
    tasks: Mapping[str, tuple[float, Sequence[tuple[float, float]]]]


def differences(model: Path, reference: Path) -> dict[str, Difference]:
    """Differences of the scores of two artifacts, by the name of the score.

    Only scores that are means over items have one. A score whose items are not the same on both
    sides is left out; so are all of a measurement that keeps no items.
    """
    paired = paired_scores(model, reference)
    return {field: compare([*score.tasks.values()]) for field, score in paired.items()}


def paired_scores(model: Path, reference: Path) -> dict[str, PairedScore]:
    """Return the scores that `differences` compares, item by item."""
    if not all((folder / "items.jsonl").is_file() for folder in (model, reference)):
        return {}
    scores = json.loads((model / "result.json").read_bytes())["scores"]
    there = json.loads((reference / "result.json").read_bytes())["scores"]
    ours, theirs = _items(model), _items(reference)
    by_score = {}
    for field, score in scores.items():
        if not score["weights"] or score["weights"] != there.get(field, {}).get("weights"):
            continue
        metric, tasks = score["metric"], {}
        for task, weight in score["weights"].items():
            one, other = ours[task, score["filter"]], theirs[task, score["filter"]]
            if one.keys() != other.keys():
                break
            tasks[task] = weight, [(one[item][metric], other[item][metric]) for item in one]
        else:
            by_score[field] = PairedScore(metric, score["filter"], tasks)
    return by_score


def _items(artifact: Path) -> Items:
    by_task: Items = {}
    with (artifact / "items.jsonl").open("rb") as file:
        for line in map(json.loads, file):
            of_task = by_task.setdefault((line["task"], line["filter"]), {})
            of_task[line["doc_id"], line["doc_hash"] + line["prompt_hash"]] = line["scores"]
    return by_task


def compare(strata: Sequence[tuple[float, Sequence[tuple[float, float]]]]) -> Difference:
    """The difference of two weighted means; ``strata`` are (weight, pairs of model and reference).

    The interval is the paired bootstrap's: within each stratum items are drawn again with
    replacement, 10,000 times from a fixed seed, and the middle 95 % taken (Efron and Tibshirani,
    An Introduction to the Bootstrap, 1993, chapter 13). Drawing n items is drawing how often each
    distinct difference comes, which is what is done here. ``p`` is McNemar's exact two-sided
    probability of a difference as uneven where there is none, None unless every item is right or
    wrong.
    """
    import numpy as np

    generator = np.random.default_rng(_SEED)
    delta = 0.0
    drawn = np.zeros(_RESAMPLES)
    for weight, pairs in strata:
        values, counts = np.unique([one - other for one, other in pairs], return_counts=True)
        n = len(pairs)
        delta += weight * float(values @ counts) / n
        step = max(1, _STEP // len(values))
        for at in range(0, _RESAMPLES, step):
            size = len(drawn[at : at + step])
            times = generator.multinomial(n, counts / n, size=size)
            drawn[at : at + step] += weight * (times @ values) / n
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Difference(delta, low=float(low), high=float(high), p=_mcnemar(strata))


def _mcnemar(strata: Sequence[tuple[float, Sequence[tuple[float, float]]]]) -> float | None:
    """McNemar's probability ``p``; None unless every item is right or wrong.

    It is 2 · P(X ≤ min(b, c)), X binomial (b + c, 1/2), at most 1; b and c count the discordant
    pairs. McNemar, Psychometrika 12 (1947), in its exact form.
    """
    pairs = [pair for _, several in strata for pair in several]
    if any(value not in (0.0, 1.0) for pair in pairs for value in pair):
        return None
    better = sum(one > other for one, other in pairs)
    worse = sum(one < other for one, other in pairs)
    n = better + worse
    tail: int = sum(math.comb(n, k) for k in range(min(better, worse) + 1))
    return min(1.0, float(2 * tail / 2**n))
