"""Scores, items and the journal, with a model whose answers are known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from qpipe.errors import DataError
from tests.evaluators.tasks import ask

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]


def write_task(folder: Path, name: str, answers: Sequence[int], **more: Any) -> None:
    """Questions 0, 1, … with the choices a, b and c."""
    rows = [{"text": f"{name} {n}", "answer": answer} for n, answer in enumerate(answers)]
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": f"{name}.jsonl"}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{text}}",
        "doc_to_choice": ["a", "b", "c"],
        "doc_to_target": "answer",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        **more,
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(config))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "tasks"
    made.mkdir()
    write_task(made, "one", [0, 0, 1, 2])
    write_task(made, "two", [0, 1])
    for name, by_size in (("sized", True), ("even", False)):
        aggregate = [{"metric": "acc", "weight_by_size": by_size}]
        group = {"group": name, "task": ["one", "two"], "aggregate_metric_list": aggregate}
        (made / f"{name}.yaml").write_text(yaml.safe_dump(group))
    return made


class AlwaysA:
    """A model that finds a the likeliest continuation; what it is asked is counted."""

    rank, world_size = 0, 1

    def __init__(self, *, dies_after: int | None = None) -> None:
        self.asked = 0
        self._dies_after = dies_after
        self._hook: Any = None

    def set_cache_hook(self, hook: Any) -> None:
        self._hook = hook

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        answers = []
        for request in requests:
            if self.asked == self._dies_after:
                raise KeyboardInterrupt
            self.asked += 1
            answer = (-0.5 if request.args[1] == " a" else -2.0, request.args[1] == " a")
            self._hook.add_partial("loglikelihood", request.args, answer)
            answers.append(answer)
        return answers


def test_scores_by_hand(folder: Path, tmp_path: Path) -> None:
    from qpipe.evaluators.harness.results import scores, write_items

    names = ["sized", "even"]
    # Groups may not share tasks in one call.
    made = {}
    for name in names:
        found, loaded = ask(AlwaysA(), [name], tmp_path / f"{name}.jsonl", folder=folder)
        (made[name],) = scores(found, loaded.tasks, loaded.reported)
    assert made["sized"].value == pytest.approx(3 / 6)
    assert made["sized"].weights == {"one": 4 / 6, "two": 2 / 6}
    assert made["even"].value == pytest.approx((2 / 4 + 1 / 2) / 2)
    assert made["even"].weights == {"one": 0.5, "two": 0.5}
    assert made["sized"].field == "acc[sized]"
    assert made["sized"].score.key == "acc[sized]"
    assert made["sized"].score.better == "higher"
    assert made["sized"].higher_is_better is True

    assert write_items(tmp_path, found) == 6
    lines = [json.loads(line) for line in (tmp_path / "items.jsonl").read_text().splitlines()]
    assert [line["scores"]["acc"] for line in lines] == [1.0, 1.0, 0.0, 0.0, 1.0, 0.0]
    assert lines[2]["answers"] == [[-0.5, True], [-2.0, False], [-2.0, False]]
    assert (lines[2]["task"], lines[2]["doc_id"], lines[2]["target"]) == ("one", 2, "1")


def test_an_evaluation_goes_on_from_the_answers_it_has(folder: Path, tmp_path: Path) -> None:
    journal = tmp_path / "partial" / "answers.jsonl"
    with pytest.raises(KeyboardInterrupt):
        ask(AlwaysA(dies_after=7), ["one"], journal, folder=folder)
    assert len(journal.read_text().splitlines()) == 7
    with journal.open("a") as file:
        file.write('["cut sho')

    seen: list[tuple[int, int, str]] = []
    again = AlwaysA()
    found, _ = ask(again, ["one"], journal, folder=folder, progress=lambda *args: seen.append(args))
    assert again.asked == 12 - 7
    assert found["results"]["one"]["acc,none"] == 0.5
    assert seen == [(done, 12, "requests") for done in range(8, 13)]
    assert len(journal.read_text().splitlines()) == 12


def test_random_texts_are_refused(folder: Path, tmp_path: Path) -> None:
    write_task(
        folder,
        "random",
        [0],
        output_type="generate_until",
        doc_to_choice=None,
        generation_kwargs={"do_sample": True, "temperature": 0.7},
        metric_list=[{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    )
    with pytest.raises(DataError, match="task random asks for random texts"):
        ask(AlwaysA(), ["random"], tmp_path / "a.jsonl", folder=folder)


def test_an_unknown_task_and_its_nearest(folder: Path, tmp_path: Path) -> None:
    from lm_eval.tasks import TaskManager

    from qpipe.evaluators.harness import loader

    with pytest.MonkeyPatch.context() as patch:
        # All of lm-eval's 14,000 files are read for the near misses.
        patch.setattr(loader, "_folders_defining", lambda names: [])
        local = partial(TaskManager, include_defaults=False)
        patch.setattr(loader, "_everything", lambda own: local(include_path=own))
        with pytest.raises(DataError, match="there is no task 'oen'; did you mean 'one'"):
            ask(AlwaysA(), ["oen"], tmp_path / "a.jsonl", folder=folder)


def test_a_limit_and_examples(folder: Path, tmp_path: Path) -> None:
    found, _ = ask(AlwaysA(), ["one"], tmp_path / "a.jsonl", folder=folder, limit=3)
    assert found["results"]["one"]["acc,none"] == pytest.approx(2 / 3)
    assert found["n-samples"]["one"] == {"original": 4, "effective": 3}
