"""From what lm-eval returns: scores with their standard errors, and items one by one."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from qpipe.core.key import Json
from qpipe.results.scores import Better, Score, score, standard

ITEMS = "items.jsonl"


@dataclass(frozen=True)
class TaskScore:
    """One figure of a task or group. ``stderr`` is lm-eval's, None if it has none.

    ``weights`` say how the items of each task make it: the sum over tasks of weight × mean of the
    items' ``metric`` under ``filter``; empty where it is no such mean, so that items cannot be
    compared one by one.
    """

    task: str
    metric: str
    filter: str
    value: float
    stderr: float | None
    higher_is_better: bool | None
    weights: Mapping[str, float]

    @property
    def field(self) -> str:
        """Its name in a report: ``acc[mmlu]``, ``exact_match[gsm8k strict-match]``."""
        return f"{self.metric}[{self._where}]"

    @property
    def score(self) -> Score:
        """The score as reports have it; which way is better is the task's word."""
        declared = standard(self.metric)
        if self.higher_is_better is not None:
            better: Better = "higher" if self.higher_is_better else "lower"
            declared = replace(declared, better=better)
        return score(self.metric, self.value, of=declared, where=self._where, stderr=self.stderr)

    @property
    def _where(self) -> str:
        return self.task if self.filter == "none" else f"{self.task} {self.filter}"


def scores(
    evaluation: Mapping[str, Any], loaded: Mapping[str, Any], names: Sequence[str]
) -> list[TaskScore]:
    """The scores of the tasks and groups in ``names``; ``loaded`` is TaskManager.load's."""
    scores = []
    for name in names:
        results = evaluation["results"][name]
        for key, value in results.items():
            metric, comma, filter_name = key.partition(",")
            if not comma or metric.endswith("_stderr") or not _is_number(value):
                continue
            stderr = results.get(f"{metric}_stderr,{filter_name}")
            figure = TaskScore(
                task=name,
                metric=metric,
                filter=filter_name,
                value=float(value),
                stderr=float(stderr) if _is_number(stderr) else None,
                higher_is_better=evaluation["higher_is_better"].get(name, {}).get(metric),
                weights=_weights(name, metric, filter_name, evaluation, loaded),
            )
            scores.append(figure if _is_mean(figure, evaluation) else _without_weights(figure))
    return scores


def _weights(
    name: str,
    metric: str,
    filter_name: str,
    evaluation: Mapping[str, Any],
    loaded: Mapping[str, Any],
) -> dict[str, float]:
    if name in loaded["tasks"]:
        return {name: 1.0}
    group = loaded["groups"][name]
    by_size = next(c.weight_by_size for c in group.aggregate_metric_list if c.metric == metric)
    sizes = {
        task.task_name: evaluation["results"][task.task_name]["sample_len"] if by_size else 1
        for task in group.get_all_tasks()
        if f"{metric},{filter_name}" in evaluation["results"][task.task_name]
    }
    total = sum(sizes.values())
    return {task: size / total for task, size in sizes.items()}


def _is_mean(score: TaskScore, evaluation: Mapping[str, Any]) -> bool:
    """True if the items' own figures, weighted, give the score."""
    total = 0.0
    for task, weight in score.weights.items():
        values = [
            sample.get(score.metric)
            for sample in evaluation["samples"][task]
            if sample["filter"] == score.filter
        ]
        if not values or not all(map(_is_number, values)):
            return False
        total += weight * sum(values) / len(values)
    return math.isclose(total, score.value, rel_tol=1e-9, abs_tol=1e-9)


def _without_weights(score: TaskScore) -> TaskScore:
    return TaskScore(**{**asdict(score), "weights": {}})


def write_items(folder: Path, evaluation: Mapping[str, Any]) -> int:
    """Write items.jsonl, a line for each item and filter; the number of items.

    A line holds task, doc_id, doc_hash, filter, target, what the model answered (for each request
    [log-probability, greedy], or a text) and the item's own scores.
    """
    items = set()
    with (folder / ITEMS).open("w", encoding="utf-8") as file:
        for line in _items(evaluation):
            items.add((line["task"], line["doc_id"]))
            file.write(json.dumps(line, sort_keys=True, ensure_ascii=False) + "\n")
    return len(items)


def _items(evaluation: Mapping[str, Any]) -> Iterator[dict[str, Json]]:
    for task, samples in sorted(evaluation["samples"].items()):
        for sample in samples:
            metrics = {name: sample[name] for name in sample["metrics"]}
            yield {
                "task": task,
                "doc_id": sample["doc_id"],
                "doc_hash": sample["doc_hash"],
                "prompt_hash": sample["prompt_hash"],
                "filter": sample["filter"],
                "target": str(sample["target"]),
                "answers": [answers[0] for answers in sample["resps"]],
                "scores": {name: float(v) for name, v in metrics.items() if _is_number(v)},
            }


def _is_number(value: Any) -> bool:
    # Some of lm-eval 0.4.13's numbers are numpy's, which are no int or float.
    return not isinstance(value, (str, bytes)) and hasattr(value, "__float__")
