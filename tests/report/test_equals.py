"""Levels whose files have the same tensors are marked in the table itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from qpipe.report.blocks import blocks
from qpipe.report.equals import with_equals
from qpipe.report.render import render
from qpipe.report.runs import merge, summary
from qpipe.results.comparison import Comparison, ModelRow
from qpipe.results.measurement import Evaluation, Measurement
from qpipe.results.scores import score

ROWS = [
    ModelRow(
        name,
        name,
        "ran",
        reference=name == "F16",
        model="m",
        size_bytes=1_000_000,
        bits_per_weight=4.5,
        measurements=(
            Evaluation(
                "kld",
                "kld",
                "ran",
                Measurement("p", (score("kld", 0.01, stderr=0.001), score("x" * 60, 1.0))),
            ),
        ),
    )
    for name in ("F16", "IQ2_M", "Q4_0", "IQ3_XXS", "IQ4_XS")
]
MARKED = with_equals(ROWS, [None, "a", "b", "a", "a"])


def test_later_ones_say_which_they_are() -> None:
    first, second = blocks(Comparison.of(MARKED), width=80)
    assert [line[:3] for line in first.body] == [
        ["F16", "977 KiB", "4.500"],
        ["IQ2_M", "977 KiB", "4.500"],
        ["Q4_0", "977 KiB", "4.500"],
        ["IQ3_XXS", "= IQ2_M", ""],
        ["IQ4_XS", "= IQ2_M", ""],
    ]
    assert [line[0] for line in second.body] == ["F16", "IQ2_M", "Q4_0"]
    assert "| IQ4_XS | = IQ2_M |  |" in render(Comparison.of(MARKED), "md")
    assert ">IQ4_XS = IQ2_M</th>" in render(Comparison.of(MARKED), "html")


def test_json_keeps_their_figures_and_says_it_too() -> None:
    document = json.loads(render(Comparison.of(MARKED), "json"))
    assert [row["same_as"] for row in document["rows"]] == [None, None, None, "IQ2_M", "IQ2_M"]
    assert all(row["kld"] == 0.01 for row in document["rows"])
    words = "IQ2_M, IQ3_XXS and IQ4_XS: the same tensors, byte for byte; the files differ in "
    assert sum(note.startswith(f"note: {words}") for note in document["notes"]) == 1


def test_one_that_failed_or_whose_equal_is_not_there_stands_for_itself() -> None:
    failed = replace(MARKED[3], error="no room", status="failed")
    (block,) = blocks(Comparison.of([MARKED[0], failed, MARKED[4]]))
    assert ["= IQ2_M" in line for line in block.body] == [False, False, False]


def test_it_is_read_back_and_follows_a_row_that_is_renamed() -> None:
    rows = json.loads(render(Comparison.of(MARKED), "json"))["rows"]
    document = {"run": "one", "status": "done", "nodes": [], "rows": rows, "schema": 1}
    other = {**document, "run": "two", "rows": rows[1:2]}
    merged = merge([summary(each, Path("run.json")) for each in (document, other)])
    by_name = {row.name: row.same_as for row in merged.rows}
    assert by_name["IQ4_XS"] == "IQ2_M one" and "IQ2_M two" in by_name
