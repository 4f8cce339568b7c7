"""Entries for the hub's evaluation results: only where they fit."""

from __future__ import annotations

from dataclasses import replace

import yaml
from huggingface_hub import EvalResultEntry, parse_eval_result_entries

from qpipe.export import eval_results
from qpipe.results.comparison import ModelRow
from qpipe.results.measurement import Evaluation, Measurement, Subject
from qpipe.results.scores import score
from tests.export.card.contents import content, levels, row


def measured(
    protocol: str = "lm_eval 0.4.13 5-shot", where: str = "gsm8k strict-match"
) -> ModelRow:
    scores = (score("exact_match", 0.4125, where=where), score("acc", 0.5, where="hellaswag"))
    tasks = Measurement(protocol, scores, on=Subject(items=1319), by="llama.cpp 1.0")
    return replace(row("Q8_0", 80), measurements=(Evaluation("tasks", "tasks", "ran", tasks),))


def test_a_benchmark_of_the_hubs() -> None:
    files = eval_results.files(content(levels(measured())))
    assert [*files] == [".eval_results/gsm8k.yaml"]
    (entry,) = parse_eval_result_entries(yaml.safe_load(files[".eval_results/gsm8k.yaml"]))
    assert entry == EvalResultEntry(
        dataset_id="openai/gsm8k",
        task_id="gsm8k",
        value=41.25,
        notes="lm_eval 0.4.13 5-shot; strict-match; llama.cpp 1.0",
    )


def test_a_part_of_a_benchmark_is_none() -> None:
    assert not eval_results.files(content(levels(measured("lm_eval 0.4.13 limit=100"))))


def test_another_filter_or_task_is_none() -> None:
    assert not eval_results.files(content(levels(measured(where="gsm8k flexible-extract"))))
    assert not eval_results.files(content(levels(measured(where="gsm8k_cot strict-match"))))


def test_tasks_of_ones_own_are_none() -> None:
    own = measured()
    (each,) = own.measurements
    folder = replace(own, measurements=(replace(each, text_digest="0" * 64),))
    assert not eval_results.files(content(levels(folder)))


def test_a_repository_of_several_levels_has_no_one_value() -> None:
    assert not eval_results.files(content(levels(measured(), row("Q4_0", 40))))
