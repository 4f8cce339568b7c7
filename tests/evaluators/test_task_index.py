"""Groups of lm-eval's that share a task are found without importing it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from qpipe.evaluators.harness.task_index import TaskIndex, shipped
from qpipe.evaluators.tasks import TasksParams
from tests.cli import called
from tests.evaluators.tasks import STORIES

INDEX = TaskIndex(
    groups={"all": ["some", "d"], "some": ["tagged", "c"], "round": ["round", "e"]},
    tags={"tagged": ["a", "b"]},
)


def test_tasks_of_a_name() -> None:
    assert INDEX.tasks("all") == {"a", "b", "c", "d"}
    assert INDEX.tasks("tagged") == {"a", "b"}
    assert INDEX.tasks("unknown") == {"unknown"}
    assert INDEX.tasks("round") == {"e"}


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["all", "d"], ("all", "d", "d")),
        (["a", "some"], ("a", "some", "a")),
        (["all", "some"], ("all", "some", "a")),
        (["some", "tagged"], ("some", "a", "a")),
        (["tagged", "a"], None),
        (["some", "d"], None),
    ],
)
def test_overlaps(names: list[str], wanted: tuple[str, str, str] | None) -> None:
    found = INDEX.overlap(names)
    assert (found and (found[0], found[2])) == (wanted and (wanted[0], wanted[2]))


def test_lm_evals_own() -> None:
    pytest.importorskip("lm_eval")
    index = shipped()
    assert "mmlu_anatomy" in index.tasks("mmlu")
    assert len(index.tasks("mmlu")) == 57
    assert index.overlap(["mmlu", "gsm8k", "hellaswag"]) is None
    with pytest.raises(ValueError, match=r"mmlu and mmlu_stem both hold mmlu_.*leave one of them"):
        TasksParams(tasks=["mmlu", "mmlu_stem"])
    with pytest.raises(ValueError, match="ceval-valid and ceval-valid_law both hold"):
        TasksParams(tasks=["ceval-valid", "ceval-valid_law"])


def test_lm_eval_is_not_imported() -> None:
    code = (
        "import sys; from qpipe.evaluators.tasks import TasksParams\n"
        "TasksParams(tasks=['gsm8k', 'hellaswag'])\n"
        "print('lm_eval' in sys.modules)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    )
    assert done.stdout.strip() == "False"


@pytest.mark.slow
def test_ones_own_group_beside_its_member_is_refused_in_the_plan(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(STORIES, tmp_path / "tasks"))
    (folder / "all.yaml").write_text("group: all_stories\ntask: [stories, stories_next]\n")
    asked = (
        "model.source=builtin:tinystories-d256",
        "evaluate=tasks",
        f"evaluate.include_path={folder}",
    )
    for names, code in (("[all_stories,stories]", 2), ("[all_stories,stories_whole]", 0)):
        answer = called("plan", "local", *asked, f"evaluate.tasks={names}", cwd=tmp_path)
        assert answer.code == code, answer.stdout + answer.stderr
        assert ("all_stories and stories both hold stories" in answer.stdout) == (code == 2)
