"""Settings of tasks: each does something, or is refused before anything runs."""

from __future__ import annotations

from typing import Any

import pytest

from qpipe.errors import DataError
from qpipe.evaluators.harness.settings import notes
from qpipe.evaluators.tasks import CheckpointTasksParams, TasksParams


@pytest.mark.parametrize("limit", [0.25, 1, 1.0, 3, 100.0])
def test_a_limit_is_a_number_of_items_or_a_share(limit: float) -> None:
    assert TasksParams(tasks=["a"], limit=float(limit)).limit == limit


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"limit": 2.7}, "2.7 items are none: give a whole number"),
        ({"date": "2026-01-01"}, "only chat templates are told a day"),
        ({"date": "01/02/03", "chat_template": True}, "is no day: write it as"),
        ({"gen_kwargs": {"repetition_penalty": 1.1}}, "repetition_penalty=1.1 is asked"),
        ({"gen_kwargs": {"num_beams": 4}}, "num_beams=4 is asked"),
        ({"gen_kwargs": {"max_tokns": 4}}, "max_tokns=4 is asked"),
    ],
)
@pytest.mark.parametrize("kind", [TasksParams, CheckpointTasksParams])
def test_what_has_no_effect_is_refused(kind: Any, given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        kind(tasks=["a"], **given)


def test_settings_of_greedy_texts_are_taken() -> None:
    given = {"max_gen_toks": 5, "until": ["x"], "temperature": 0.0, "repetition_penalty": 1.0}
    assert TasksParams(tasks=["a"], gen_kwargs=given).gen_kwargs == given


def test_another_day_is_another_label() -> None:
    one, other = (
        TasksParams(tasks=["a"], chat_template=True, date=day).label for day in (None, "2026-01-01")
    )
    assert other == one.replace("chat template", "chat template on 2026-01-01")


class Task:
    def __init__(self, **config: Any) -> None:
        self.get_config = config.get


def test_what_tasks_keep_to_themselves() -> None:
    tasks = {
        "a": Task(num_fewshot=0, output_type="multiple_choice"),
        "b": Task(num_fewshot=2, output_type="generate_until"),
    }
    assert notes(tasks, num_fewshot=None, gen_kwargs=None) == []
    assert notes({"b": tasks["b"]}, num_fewshot=2, gen_kwargs={"until": []}) == []
    assert notes(tasks, num_fewshot=2, gen_kwargs={"until": []}) == [
        "without examples, whatever evaluate.num_fewshot is: a",
        "no texts are written for a: evaluate.gen_kwargs is for the others",
    ]
    with pytest.raises(DataError, match=r"evaluate\.num_fewshot=2: a may have no examples"):
        notes({"a": tasks["a"]}, num_fewshot=2, gen_kwargs=None)
    with pytest.raises(DataError, match=r"evaluate\.gen_kwargs: a asks for no texts"):
        notes({"a": tasks["a"]}, num_fewshot=None, gen_kwargs={"until": []})
