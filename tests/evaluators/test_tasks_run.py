"""Tasks through the real command line: the table, a task that needs the network, and a kill.

All but what is killed is measured in one process, for lm-eval takes seconds to import.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli import qpipe
from tests.evaluators.tasks import STORIES
from tests.killing import files_below, killed_when

pytestmark = pytest.mark.slow
OFFLINE = {"HF_HUB_OFFLINE": "1"}
INLINE = "executor=inline"
MODEL = ("local", "model.source=builtin:tinystories-d256", "quantize.type=Q8_0")
ALONE = ("local", "model.source=builtin:tinystories-d256", "quantize=none")
TASKS = ("evaluate=tasks", f"evaluate.include_path={STORIES}")


def test_the_table_of_several_metrics_at_once(tmp_path: Path) -> None:
    answer = qpipe(
        "run", *MODEL, "evaluate=[perplexity,tasks,speed]", TASKS[1], "evaluate.tasks=stories",
        "evaluate.limit=20", "evaluate.n_ctx=256", "evaluate.chunks=4", "evaluate.n_prompt=16",
        "evaluate.n_gen=4", "evaluate.repeats=1", "evaluate.type_v=q8_0", INLINE, "--json",
        cwd=tmp_path, env=OFFLINE,
    )  # fmt: skip
    assert answer.code == 0, answer.stderr
    reference, small = json.loads(answer.stdout)["rows"]
    assert 0.4 < reference["acc[stories]"] <= 1.0
    assert reference["acc_stderr[stories]"] > 0
    assert reference["acc_delta[stories]"] is None
    difference = small["acc[stories]"] - reference["acc[stories]"]
    assert small["acc_delta[stories]"] == pytest.approx(difference)
    assert small["acc_delta_low[stories]"] <= difference <= small["acc_delta_high[stories]"]
    assert 0 < small["acc_delta_p[stories]"] <= 1
    assert small["ppl"] > 1
    assert small["tg_ratio"] > 0
    assert reference["tg_ratio"] is None

    (tasks,) = [m for m in small["measurements"] if m["metric"] == "tasks"]
    assert tasks["protocol"].endswith("limit=20 type_v=q8_0")
    items = (Path(tasks["artifact"]) / "items.jsonl").read_text().splitlines()
    assert len(items) == tasks["items"] == 20
    item = json.loads(items[0])
    assert {"task", "doc_id", "doc_hash", "answers", "target", "scores"} <= item.keys()
    assert len(item["answers"]) == 4

    table = qpipe("report", str(next((tmp_path / "outputs" / "runs").iterdir())), cwd=tmp_path)
    assert "Δ acc [95 %]" in table.stdout
    assert "pp/ref" in table.stdout


def test_without_a_network_one_task_fails_and_the_rest_goes_on(tmp_path: Path) -> None:
    answer = qpipe(
        "run", *ALONE, *TASKS, "-m", "evaluate.tasks=gsm8k,stories", "evaluate.limit=2",
        "--keep-going", INLINE, "--json", cwd=tmp_path, env=OFFLINE,
    )  # fmt: skip
    assert answer.code == 1
    status = {n["name"]: n["status"] for n in json.loads(answer.stdout)["nodes"]}
    assert [name for name in status if status[name] == "failed"] == [
        "tasks[tinystories-d256 gsm8k]"
    ]
    assert status["tasks[tinystories-d256 stories]"] == "ran"
    assert "task gsm8k: its data set cannot be had" in answer.stderr
    assert "HF_HUB_OFFLINE" in answer.stderr


def test_a_killed_evaluation_goes_on_from_the_answers_it_has(tmp_path: Path) -> None:
    command = ("run", *ALONE, *TASKS, "evaluate.tasks=stories")
    journal = killed_when(
        lambda: answers(tmp_path), *command, "executor.cpus=1", cwd=tmp_path, env=OFFLINE
    )

    # What was answered is marked, so that it is seen again.
    kept = [json.loads(line) for line in journal.read_bytes().splitlines(keepends=True)
            if line.endswith(b"\n")]  # fmt: skip
    assert kept
    kept[0][1] = [-12345.0, True]
    journal.write_text("".join(json.dumps(line) + "\n" for line in kept) + '["cut')

    assert qpipe(*command, INLINE, cwd=tmp_path, env=OFFLINE).code == 0
    marked = [
        answer
        for file in tmp_path.glob("outputs/store/**/items.jsonl")
        for line in file.read_text().splitlines()
        for answer in json.loads(line)["answers"]
        if answer[0] == -12345.0
    ]
    assert len(marked) == 1
    assert not journal.exists()


def answers(folder: Path) -> Path | None:
    """The journal of the first evaluation, if it has something."""
    found = [path for path in files_below(folder, "answers.jsonl") if len(path.read_bytes()) > 2000]
    return found[0] if found else None
