"""report, pin and unpin on a run that a real runner made."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.cli import Answer, called
from tests.commands.stores import finished_run, path_of


def ask(folder: Path, *words: str) -> Answer:
    return called(
        *words,
        cwd=folder,
        env={"QPIPE_STORE": str(folder / "store"), "QPIPE_RUNS": str(folder / "runs")},
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    finished_run(tmp_path)
    return tmp_path


def test_report_as_a_table(folder: Path) -> None:
    answer = ask(folder, "report", "first")
    assert answer.code == 0
    assert [line.split()[0] for line in answer.stdout.splitlines()[:5]] == [
        "perplexity:",
        "format",
        "F16",
        "Q8_0",
        "Q4_0",
    ]


@pytest.mark.parametrize("form", ["md", "csv", "json", "html"])
def test_report_formats(form: str, folder: Path) -> None:
    printed = ask(folder, "report", "first", "--format", form)
    assert printed.code == 0
    assert "10.5" in printed.stdout
    written = ask(folder, "report", "first", "-o", f"out.{form}")
    assert written.code == 0
    assert written.stdout == ""
    assert (folder / f"out.{form}").read_text() == printed.stdout


def test_report_as_json_is_one_document(folder: Path) -> None:
    document = json.loads(ask(folder, "report", "first", "--json").stdout)
    assert [row["ppl"] for row in document["rows"]] == [10.0, 10.5, 12.0]


def test_report_of_the_latest_and_of_a_folder(folder: Path) -> None:
    second = finished_run(folder, "second")
    os.utime(second.summary, (2e9, 2e9))
    assert json.loads(ask(folder, "report", "latest", "--json").stdout)["title"] == "second"
    by_path = ask(folder, "report", str(folder / "runs" / "first"), "--json")
    assert json.loads(by_path.stdout)["title"] == "first"


def test_report_of_two_runs_has_each_model_once(folder: Path) -> None:
    finished_run(folder, "second")
    document = json.loads(ask(folder, "report", "first", "second", "--json").stdout)
    assert [row["name"] for row in document["rows"]] == ["F16", "Q8_0", "Q4_0"]
    assert {row["run"] for row in document["rows"]} == {"second"}
    assert {row["status"] for row in document["rows"]} == {"cached"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["report", "frist"], "did you mean 'first'?"),
        (["report", "first", "-o", "out.xls"], "add --format"),
        (["report", "half"], "the run was interrupted or is still going on"),
        (["report", "bad"], "cannot be read as the summary of a run"),
        (["report", "old"], "written by another version"),
        (["pin", "frist"], "did you mean 'first'?"),
    ],
)
def test_wrong_runs(words: list[str], said: str, folder: Path) -> None:
    for name, data in {
        "half": None,
        "bad": '{"rows": ',
        "old": '{"run": "old", "nodes": [], "rows": [{"name": "x"}]}',
    }.items():
        (folder / "runs" / name).mkdir()
        if data is not None:
            (folder / "runs" / name / "run.json").write_text(data)
    answer = ask(folder, *words)
    assert answer.code == 2, answer
    assert said in answer.stderr
    assert answer.stdout == ""


def test_no_run_at_all(tmp_path: Path) -> None:
    answer = ask(tmp_path, "report", "latest")
    assert answer.code == 2
    assert "no finished run" in answer.stderr


def test_a_pinned_run_is_kept_from_gc(folder: Path) -> None:
    nodes = json.loads((folder / "runs" / "first" / "run.json").read_text())["nodes"]
    pinned = ask(folder, "pin", "latest")
    assert pinned.stdout == f"pinned {len(nodes)} artifact(s) of run first\n"
    kept = ask(folder, "gc", "--max-size", "0")
    assert kept.stdout.splitlines()[0].startswith("removed 0 artifact(s)")
    assert "pinned by run first" in kept.stdout
    assert "still above --max-size" in kept.stderr
    document = json.loads(ask(folder, "gc", "--max-size", "0", "--dry-run", "--json").stdout)
    assert {candidate["spared"] for candidate in document["kept"]} == {"pinned by run first"}
    assert path_of(folder / "store", nodes[0]["key"]).is_dir()

    assert ask(folder, "unpin", "first").stdout == "unpinned run first\n"
    assert ask(folder, "gc", "--max-size", "0").code == 0
    assert not path_of(folder / "store", nodes[0]["key"]).exists()
    again = ask(folder, "unpin", "first")
    assert again.code == 1
    assert "not pinned" in again.stderr
    gone = ask(folder, "pin", "first")
    assert gone.code == 1
    assert "none of the" in gone.stderr
