"""Tables are run as one graph, and every value gets a verdict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli import called

OWN = Path(__file__).parents[2] / "published" / "tables" / "own.yaml"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("repro")


@pytest.fixture(scope="module")
def answer(folder: Path) -> dict[str, Any]:
    """The whole table, reproduced."""
    said = called("repro", str(OWN), "--json", "-o", "out.html", cwd=folder)
    assert said.code == 4, said.stderr
    found: dict[str, Any] = json.loads(said.stdout)
    return found


def row(answer: dict[str, Any], kind: str, metric: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = [
        each for each in answer["rows"] if (each["format"], each["metric"]) == (kind, metric)
    ]
    return found[0]


def test_every_value_has_a_verdict(answer: dict[str, Any]) -> None:
    verdicts = {(each["format"], each["metric"]): each["verdict"] for each in answer["rows"]}
    assert verdicts == {
        ("F16", "ppl"): "reproduced",
        ("F16", "ppl_delta"): "reproduced",
        ("F16", "size"): "off",
        ("F16", "kld"): "cannot_run",
        ("F16", "gone"): "not_comparable",
        ("F16", "pp"): "not_comparable",
        ("Q8_0", "ppl"): "off",
        ("lost", "ppl"): "cannot_run",
    }


def test_what_is_shared_is_made_once(answer: dict[str, Any], folder: Path) -> None:
    report = called("report", "latest", "--json", cwd=folder)
    assert report.code == 0
    document = json.loads((folder / "outputs" / "runs" / answer["run"] / "run.json").read_text())
    stages = [node["stage"] for node in document["nodes"]]
    assert (stages.count("convert"), stages.count("quantize"), stages.count("tokens")) == (1, 2, 1)
    assert document["command"][:2] == ["qpipe", "repro"]


def test_reasons_say_what_is_missing_and_what_helps(answer: dict[str, Any]) -> None:
    assert "evaluate=kld in overrides" in row(answer, "F16", "kld")["why"]
    assert "qpipe has no protocol 'ours-1'" in row(answer, "F16", "gone")["why"]
    assert "published on Abacus 9, this is " in row(answer, "F16", "pp")["why"]
    assert "nowhere: no such file or folder" in row(answer, "lost", "ppl")["why"]


def test_the_size_is_that_of_the_file_that_was_made(answer: dict[str, Any], folder: Path) -> None:
    size = row(answer, "F16", "size")
    file = next((folder / "outputs" / "runs" / answer["run"] / "models").glob("*F16*.gguf"))
    assert size["ours"] == pytest.approx(file.stat().st_size / 1e6)


def test_a_repeated_run_is_refused_with_its_command(answer: dict[str, Any], folder: Path) -> None:
    said = called("run", answer["run"], cwd=folder)
    assert said.code == 2
    assert "`qpipe repro " in said.stderr


def test_a_plan_runs_nothing(folder: Path) -> None:
    said = called("repro", str(OWN), "--plan", "--json", "--store", "other", cwd=folder)
    assert said.code == 0
    rows = json.loads(said.stdout)["rows"]
    assert [each["verdict"] for each in rows].count("would_run") == 5
    assert not (folder / "other" / "artifacts").exists()


def test_the_page_holds_the_verdicts(answer: dict[str, Any], folder: Path) -> None:
    page = (folder / "out.html").read_text()
    assert '<td class="off">off</td>' in page
    assert "no revision: its text may change" in page


WRONG = """\
schema: 1
title: Wrong
source: {document: tests, revision: null}
metrics: {ppl: {protocol: llamacpp-512}}
shared: {model: builtin:tinystories-d256, recipe: local}
rows:
  - {format: A, overrides: [quantize.type=Q99], values: {ppl: 1}}
  - {format: B, recipe: nothing, values: {ppl: 1}}
  - {format: C, overrides: [quantize.typo=Q4_0], values: {ppl: 1}}
"""


def test_wrong_recipes_and_overrides_are_refused_by_row(tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text(WRONG)
    said = called("repro", "wrong.yaml", cwd=tmp_path)
    assert said.code == 2
    assert "wrong.yaml:7: row 1 (A), ppl: " in said.stderr
    assert "wrong.yaml:8: row 2 (B), ppl: there is no recipe 'nothing'" in said.stderr
    assert "wrong.yaml:9: row 3 (C), ppl: " in said.stderr
    assert not (tmp_path / "outputs" / "runs").exists()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--rows", "formt=Q4"], "did you mean 'format'"),
        (["--rows", "format"], "is not of the form FIELD=PATTERN"),
        (["--rows", ""], "is not of the form FIELD=PATTERN"),
        (["--rows", "format=Q2*"], "there are format: F16, Q8_0, lost"),
        (["--rows", "format=lost", "--only", "sizes"], "the rows have 1 of quality"),
    ],
)
def test_what_chooses_nothing_is_refused(words: list[str], reason: str, tmp_path: Path) -> None:
    said = called("repro", str(OWN), *words, "--plan", cwd=tmp_path)
    assert said.code == 2
    assert reason in said.stderr


def test_a_table_named_twice_is_taken_once(tmp_path: Path) -> None:
    said = called("repro", str(OWN), str(OWN), "--plan", "--json", cwd=tmp_path)
    assert len(json.loads(said.stdout)["rows"]) == 8
