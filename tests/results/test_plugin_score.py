"""A score of somebody else's evaluator, from a package of its own: no file of qpipe is touched."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.cli import qpipe
from tests.results.test_run_schema import wrong

pytestmark = pytest.mark.xdist_group("plugin-score")

ROOT = Path(__file__).parents[2]

EVALUATOR = '''
from typing import Literal

from qpipe.results import Measurement, Score, Subject
from qpipe.stages.evaluator import Evaluator, EvaluatorParams, only_file


class ZerosParams(EvaluatorParams):
    metric: Literal["zeros"] = "zeros"


class Zeros(Evaluator):
    """How many bytes of a file are zero: a share, its interval, and a count for programs."""

    version = 1
    Params = ZerosParams

    def run(self, params, work):
        data = only_file(work.inputs["model"], suffix=".gguf").read_bytes()
        zeros = data.count(0)
        share = 100 * zeros / len(data)
        (work.out / "result.json").write_text("{}")
        return Measurement(
            "whole file",
            (
                Score("zeros", share, interval=(share - 1, share + 1), unit="%", better="lower",
                      digits=2, compared=True),
                Score("zeros_ratio", zeros / (len(data) - zeros), better="lower"),
                Score("zero_bytes", zeros, unit="bytes", detail=True),
            ),
            on=Subject(text="bytes", tokens_scored=len(data)),
            by="zeros 1.0",
            notes=("a note of the evaluator's own",),
        )
'''  # fmt: skip

RECIPE = """
defaults:
  - config
  - override quantize: gguf
  - override evaluate: none
  - _self_
name: zeros
model: {source: "builtin:tinystories-d256"}
quantize: {type: Q8_0}
stages:
  zeros:
    uses: evaluate
    needs: {model: quantize}
    with: &measure {metric: zeros}
  zeros_reference:
    uses: evaluate
    needs: {model: "${run.reference}"}
    with: *measure
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    (folder / "zeros_evaluator.py").write_text(EVALUATOR)
    about = folder / "zeros_evaluator-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: zeros-evaluator\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[qpipe.evaluators]\nzeros = zeros_evaluator:Zeros\n")
    (folder / "zeros.yaml").write_text(RECIPE)
    return folder


def command(place: Path, *arguments: str) -> str:
    path = f"{place}:{ROOT}"
    answer = qpipe(*arguments, cwd=place, env={"PYTHONPATH": path, "OMP_NUM_THREADS": "1"})
    assert answer.code == 0, answer.stderr
    return answer.stdout


class Cells(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.open = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open = tag
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self.open = ""

    def handle_data(self, data: str) -> None:
        if self.open in ("td", "th"):
            self.rows[-1][-1] += data


@pytest.mark.slow
def test_it_stands_in_every_format(place: Path) -> None:
    shown = command(place, "run", "./zeros.yaml")
    run = next((place / "outputs" / "runs").iterdir())
    document = json.loads((run / "run.json").read_bytes())
    _in_json(document)
    (row,) = (row for row in document["rows"] if not row["reference"])
    low, high = row["zeros_low"], row["zeros_high"]
    cell = f"{row['zeros']:.2f} [{low:.2f}, {high:.2f}]"
    head = ["zeros % [95 %]", "Δ zeros", "zeros_ratio"]

    _, _, *lines = [re.split("  +", line) for line in shown.splitlines()]
    assert lines[0][3:6] == head
    assert lines[2][3] == cell
    reference = row["zeros"] - row["zeros_delta"]
    delta = f"{row['zeros_delta']:+.2f} ({row['zeros_delta'] / reference:+.2%})"
    assert lines[2][4] == delta
    assert "zeros: whole file on bytes" in shown
    assert "note: a note of the evaluator's own" in shown

    table = [line.split(" | ") for line in command(place, "report", "latest", "--format", "md")
             .splitlines() if line.startswith("|")]  # fmt: skip
    assert [each.replace("\\", "").rstrip(" |") for each in table[0][3:6]] == head
    assert table[3][3] == cell

    page = Cells()
    page.feed(command(place, "report", "latest", "--format", "html"))
    assert page.rows[0][3:6] == head
    assert page.rows[2][3] == cell

    read = list(csv.DictReader(io.StringIO(command(place, "report", "latest", "--format", "csv"))))
    assert float(read[1]["zeros"]) == row["zeros"]
    assert float(read[1]["zeros_low"]) == low
    assert int(read[1]["zero_bytes"]) == row["zero_bytes"]

    again = json.loads(command(place, "report", "latest", "--format", "json"))["rows"]
    assert again[1]["zeros_delta"] == row["zeros_delta"]
    assert again[1]["measurements"] == row["measurements"]

    # From the store, where nothing but its manifest says what it is.
    cached = json.loads(command(place, "run", "./zeros.yaml", "--json"))
    assert {node["status"] for node in cached["nodes"]} == {"cached"}
    assert [scores(each) for each in cached["rows"]] == [scores(each) for each in document["rows"]]


def scores(row: dict[str, Any]) -> Any:
    (measured,) = row["measurements"]
    return measured["scores"], measured["score_types"]


def _in_json(document: dict[str, Any]) -> None:
    """The schema knows it, and what it declares is there."""
    assert wrong(document) == []
    reference, row = document["rows"]
    figures, types = scores(row)
    assert row["zeros_delta"] == row["zeros"] - reference["zeros"]
    assert row["zeros_ratio"] == figures["zeros_ratio"]
    assert types["zeros"] == {
        "unit": "%", "better": "lower", "digits": 2, "detail": False, "compared": True,
        "heading": None,
    }  # fmt: skip
    assert types["zeros_ratio"]["better"] == "lower", "a score, and not the ratio of another"
    assert types["zero_bytes"]["detail"]
