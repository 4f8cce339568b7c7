"""Two models item by item, against cases computed by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from qpipe.core.key import Json
from qpipe.report.paired_difference import compare, differences
from tests.report.plans import carry_out, gguf, job, node, plan, records


def pairs(both: int, better: int, worse: int, neither: int) -> list[tuple[float, float]]:
    return (
        [(1.0, 1.0)] * both + [(1.0, 0.0)] * better + [(0.0, 1.0)] * worse + [(0.0, 0.0)] * neither
    )


def test_mcnemars_exact_test_by_hand() -> None:
    # 7 discordant, 1 against 6: 2 · (C(7,0) + C(7,1)) / 2⁷ = 16 / 128.
    found = compare([(1.0, pairs(10, 1, 6, 3))])
    assert found.value == pytest.approx(-5 / 20)
    assert found.p == pytest.approx(0.125)


def test_the_interval_is_that_of_a_mean_of_paired_differences() -> None:
    found = compare([(1.0, pairs(700, 60, 100, 140))])
    # The variance of a difference is E[d²] - E[d]² = 0.16 - 0.04².
    stderr = math.sqrt((0.16 - 0.0016) / 1000)
    assert found.value == pytest.approx(-0.04)
    assert found.low == pytest.approx(-0.04 - 1.96 * stderr, abs=0.002)
    assert found.high == pytest.approx(-0.04 + 1.96 * stderr, abs=0.002)
    # Apart, two accuracies of 0.76 and 0.80 would have ±0.037.
    assert found.high is not None and found.low is not None
    assert found.high - found.low < 0.052


def test_tasks_of_a_group_are_drawn_each_for_itself() -> None:
    found = compare([(0.5, pairs(10, 0, 0, 0)), (0.5, pairs(0, 0, 4, 0))])
    assert (found.value, found.low, found.high) == (-0.5, -0.5, -0.5)


def test_models_that_answer_alike() -> None:
    found = compare([(1.0, pairs(3, 0, 0, 2))])
    assert (found.value, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)


def test_scores_that_are_not_right_or_wrong_have_no_p() -> None:
    found = compare([(1.0, [(0.5, 0.25), (0.75, 0.5)])])
    assert found.p is None
    assert found.value == found.low == found.high == 0.25


def artifact(folder: Path, right: Sequence[float], *, doc: str = "d", weight: float = 1.0) -> Path:
    folder.mkdir(parents=True)
    score = {"metric": "acc", "filter": "none", "weights": {"t": weight}}
    (folder / "result.json").write_text(json.dumps({"scores": {"acc[t]": score}}))
    lines = [
        {"task": "t", "filter": "none", "doc_id": number, "doc_hash": f"{doc}{number}",
         "prompt_hash": "p", "scores": {"acc": value}}
        for number, value in enumerate(right)
    ]  # fmt: skip
    (folder / "items.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_only_the_same_items_are_compared(tmp_path: Path) -> None:
    model = artifact(tmp_path / "model", [1, 0, 0])
    assert differences(model, artifact(tmp_path / "a", [1, 1, 0]))["acc[t]"].value == -1 / 3
    assert differences(model, artifact(tmp_path / "b", [1, 1, 0], doc="other")) == {}
    assert differences(model, artifact(tmp_path / "c", [1, 1])) == {}
    assert differences(model, artifact(tmp_path / "e", [1, 1, 0], weight=0.5)) == {}


def test_a_report_of_two_ways_names_task_and_way(tmp_path: Path) -> None:
    model = gguf("F16", size=2, bpw=16.0)
    stages = {"convert": model}
    for shots, value in ((0, 0.25), (5, 0.5)):
        facts: dict[str, Json] = {
            "acc[t]": value,
            "acc_stderr[t]": 0.125,
            "protocol": f"lm-eval 1 {shots}-shot",
        }
        inputs = {"model": model}
        stages[f"tasks{shots}"] = node(
            f"tasks{shots}", "evaluate", facts, inputs=inputs, metric="tasks"
        )
    planned = plan(job("", stages, reference=model))
    (row,) = records(planned, carry_out(planned, tmp_path))
    assert row["acc[t, lm-eval 1 0-shot]"] == 0.25
    assert row["acc[t, lm-eval 1 5-shot]"] == 0.5
    assert row["acc_stderr[t, lm-eval 1 5-shot]"] == 0.125
