"""A run becomes a table of published results, and is reproduced by it."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
import yaml

from qpipe.errors import UsageError
from qpipe.published.lint import lint
from qpipe.published.load import TableFile, load
from qpipe.published.of_run import table_of
from qpipe.report.runs import Summary, summary
from tests.cli import called
from tests.report.test_unlike import HALF, WORDS
from tests.report.test_unlike import table as unlike_rows

RUNS = Path(__file__).parent.parent / "data" / "runs"
SETTINGS = (
    "model.source=builtin:stories260K",
    "evaluate.text=builtin:texts/tinystories_lower_heldout.txt",
    "evaluate.n_ctx=128",
    "evaluate.chunks=6",
)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> TableFile:
    """The table of a run of two levels, beside its store and runs."""
    folder = tmp_path_factory.mktemp("published")
    made = called("run", "local", *SETTINGS, "-m", "quantize.type=Q8_0,Q4_0", cwd=folder)
    assert made.code == 0, made.stderr
    written = called("report", "latest", "-o", "mine.yaml", cwd=folder)
    assert written.code == 0, written.stderr
    return load(folder / "mine.yaml")


def test_it_has_a_row_for_each_level_and_says_how(published: TableFile) -> None:
    rows = published.table.rows
    assert [row.format for row in rows] == ["Q8_0", "Q4_0"]
    assert [row.overrides for row in rows] == [("quantize.type=Q8_0",), ("quantize.type=Q4_0",)]
    assert published.table.shared.recipe == "local"
    assert published.table.shared.overrides == SETTINGS
    assert {*rows[0].values} == {"size", "bpw", "ppl", "ppl_delta"}
    assert published.table.metrics["ppl"].protocol == "llamacpp-512 n_ctx=128 chunks=6"
    assert published.table.metrics["ppl"].tokens_sha256
    assert not lint(published)


def test_it_is_reproduced_and_a_broken_number_is_found(published: TableFile) -> None:
    folder = published.path.parent
    again = called("repro", "mine.yaml", "--json", cwd=folder)
    assert again.code == 0, again.stderr
    assert {row["verdict"] for row in json.loads(again.stdout)["rows"]} == {"reproduced"}
    text = published.path.read_text()
    value = published.table.rows[1].values["ppl"].value
    (folder / "broken.yaml").write_text(text.replace(str(value), str(value + Decimal("0.9"))))
    broken = called("repro", "broken.yaml", "--json", cwd=folder)
    off = [row for row in json.loads(broken.stdout)["rows"] if row["verdict"] == "off"]
    assert broken.code == 4
    assert [(row["format"], row["metric"]) for row in off] == [("Q4_0", "ppl")]


def test_files_and_models_are_named_from_the_table_s_folder(published: TableFile) -> None:
    folder = published.path.parent
    (folder / "a text.txt").write_text("once upon a time there was a little girl . " * 40)
    (folder / "two.yaml").write_text(
        "defaults: [config, _self_]\nevaluate: {n_ctx: 64, chunks: 3}\nquantize: {type: Q8_0}\n"
        "hydra: {mode: MULTIRUN, sweeper: {params: {model.source: 'builtin:stories260K'}}}\n"
    )
    text = "evaluate.text=a text.txt"
    ran = called("run", "two.yaml", text, cwd=folder)
    assert ran.code == 0, ran.stderr
    (folder / "sub").mkdir()
    assert called("report", "latest", "-o", "sub/there.yaml", cwd=folder).code == 0
    table = load(folder / "sub" / "there.yaml").table
    assert [row.model for row in table.rows] == ["builtin:stories260K"]
    assert table.shared.recipe == "../two.yaml"
    assert "evaluate.text=../a text.txt" in table.shared.overrides
    again = called("repro", "sub/there.yaml", cwd=folder)
    assert again.code == 0, again.stderr


def test_a_reproduction_is_passed_on_by_its_table(published: TableFile) -> None:
    folder = published.path.parent
    (folder / "copy.yaml").write_bytes(published.path.read_bytes())
    assert called("repro", "copy.yaml", cwd=folder).code == 0
    answer = called("report", "latest", "-o", "again.yaml", cwd=folder)
    assert (answer.code, "the table is what to pass on" in answer.stderr) == (2, True)
    drop = called("check", "latest", "--max-drop", "1pp", cwd=folder)
    assert (drop.code, "in the table, a metric of acc[TASK]" in drop.stderr) == (2, True)


def test_a_table_is_of_one_run(published: TableFile) -> None:
    folder = published.path.parent
    assert called("run", "local", *SETTINGS, "quantize.type=Q8_0", cwd=folder).code == 0
    runs = sorted(run.name for run in (folder / "outputs" / "runs").iterdir())
    answer = called("report", runs[0], runs[-1], "-o", "two.yaml", cwd=folder)
    assert (answer.code, "a table is of one run" in answer.stderr) == (2, True)


def test_an_old_run_kept_no_recipe() -> None:
    old: Summary = summary(json.loads((RUNS / "all.json").read_bytes()), Path("run.json"))
    with pytest.raises(UsageError, match="kept no recipe"):
        table_of(old)


def test_a_difference_between_two_arithmetics_has_its_note() -> None:
    rows = [replace(row, overrides=(f"quantize={row.name}",)) for row in unlike_rows(HALF).rows]
    about = {"recipe": "local", "overrides": [], "qpipe": "1", "started": 0.0, "machine": {}}
    table = yaml.safe_load(table_of(Summary("r", [], rows, about)))
    notes = {row["format"]: row.get("note") for row in table["rows"]}
    assert notes == {"NVFP4": f"computed in {WORDS}", "INT4": None}
