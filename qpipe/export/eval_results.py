"""Entries for the hub's own evaluation results: ``.eval_results/NAME.yaml``.

Form: https://github.com/huggingface/hub-docs/blob/main/eval_results.yaml. An entry is a value of
the whole repository in a data set that is registered as a benchmark, so it fits a repository of one
model that answered every item of such a task. Perplexity and KL divergence on a text are none: they
stand in the card.
"""

from __future__ import annotations

from dataclasses import dataclass

from qpipe.export.card.content import CardContent
from qpipe.results.measurement import Evaluation
from qpipe.results.scores import Score

FOLDER = ".eval_results"


@dataclass(frozen=True)
class _Benchmark:
    """A benchmark on the hub: its data set and task, and which score of lm-evaluation-harness it
    has, under which filter of answers."""

    dataset: str
    task: str
    score: str
    filter: str


# Tasks of lm-evaluation-harness whose data sets are benchmarks on the hub
# (https://huggingface.co/docs/hub/eval-results), with values in percent there.
_BENCHMARKS = {
    "gsm8k": _Benchmark("openai/gsm8k", "gsm8k", "exact_match", "strict-match"),
    "mmlu_pro": _Benchmark("TIGER-Lab/MMLU-Pro", "mmlu_pro", "exact_match", "custom-extract"),
}


def files(content: CardContent) -> dict[str, str]:
    """Return the files by name, none where nothing fits."""
    if len(content.models) != 1:
        return {}
    (row,) = content.levels.rows
    return {
        f"{FOLDER}/{benchmark.task}.yaml": _entry(benchmark, each, score)
        for each in filter(_is_whole, row.measurements)
        for task, benchmark in _BENCHMARKS.items()
        for score in each.measurement.scores
        if score.name == benchmark.score and score.where == f"{task} {benchmark.filter}"
    }


def _is_whole(evaluation: Evaluation) -> bool:
    """Return whether all items of a task of the harness's own were asked."""
    words = (evaluation.measurement.protocol or "").split()
    limited = any(word.startswith("limit=") for word in words)
    return evaluation.metric == "tasks" and evaluation.text_digest is None and not limited


def _entry(benchmark: _Benchmark, evaluation: Evaluation, score: Score) -> str:
    import yaml
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    measured = evaluation.measurement
    entry = EvalResultEntry(
        dataset_id=benchmark.dataset,
        task_id=benchmark.task,
        value=round(100 * score.value, 2),
        notes="; ".join(filter(None, (measured.protocol, benchmark.filter, measured.by))),
    )
    text: str = yaml.safe_dump(
        eval_result_entries_to_yaml([entry]), sort_keys=False, allow_unicode=True
    )
    return text
