"""Differences between two arithmetics are marked in every format, with what they are between."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from qpipe.gate.evidence import Gatherer
from qpipe.report.footnotes import remarks
from qpipe.report.matrix import matrix
from qpipe.report.reference_difference import compared_with
from qpipe.report.render import render, to_terminal
from qpipe.report.runs import merge, summary
from qpipe.results import record
from qpipe.results.arithmetic import Arithmetic
from qpipe.results.comparison import Comparison, ModelRow
from qpipe.results.measurement import Evaluation, Measurement, Subject
from qpipe.results.scores import score

PLAIN = Arithmetic("cpu", "float32")
HALF = Arithmetic("cpu", "bfloat16")
KEYS = {"BF16": "a" * 64, "INT4": "b" * 64, "NVFP4": "c" * 64}
ON_CPU = {"device": "cpu", "instructions": "AVX2", "threads": 2}
WORDS = "bfloat16 on a cpu, and the reference in float32 on a cpu"


def measured(value: float, how: Arithmetic | None, *, kld: float | None = None) -> Evaluation:
    own = score("kld", kld, stderr=0.001) if kld is not None else score("kld_noise", 1e-7)
    scores = (own, score("ppl", value, stderr=0.1))
    on = Subject(text="t.txt", tokens_scored=100, tokens_sha256="a" * 64)
    made = Measurement("llamacpp-512", scores, on, by="transformers 5", arithmetic=how)
    return Evaluation("kld", "kld" if kld is not None else "logprobs", "ran", made)


def row(name: str, each: Evaluation, *, reference: bool = False) -> ModelRow:
    return ModelRow(
        name, name, "ran", reference, model="m", size_bytes=1000, bits_per_weight=4.5,
        computed_on=None if reference else ON_CPU, artifact="/store/a", key=KEYS[name],
        measurements=(each,),
    )  # fmt: skip


def table(how: Arithmetic | None, reference: Arithmetic | None = PLAIN) -> Comparison:
    """A reference, a level that was computed alike, and one that was not."""
    of_reference = measured(9.0, reference)
    levels = {"NVFP4": measured(9.5, how, kld=0.02), "INT4": measured(9.25, reference, kld=0.01)}
    compared = {name: compared_with(each, [of_reference]) for name, each in levels.items()}
    others = [row(name, each) for name, each in compared.items()]
    return Comparison.of([row("BF16", of_reference, reference=True), *others])


def test_figures_that_compare_two_arithmetics_are_named() -> None:
    reference, unlike, alike = table(HALF).rows
    assert unlike.unlike == ("kld", "ppl_delta")
    assert unlike.measurements[0].unlike == WORDS
    assert reference.unlike == alike.unlike == ()


@pytest.mark.parametrize(
    ("how", "reference"), [(PLAIN, PLAIN), (HALF, HALF), (HALF, None), (None, PLAIN)]
)
def test_nothing_is_marked_where_all_is_alike_or_not_known(
    how: Arithmetic | None, reference: Arithmetic | None
) -> None:
    compared = table(how, reference)
    assert not any(each.unlike for each in compared.rows)
    assert "≠" not in render(compared, "md")


def test_of_two_references_the_one_that_was_computed_alike_is_compared_with() -> None:
    plain, half = measured(9.0, PLAIN), measured(9.125, HALF)
    for references in ([plain, half], [half, plain]):
        for how, base in ((PLAIN, 9.0), (HALF, 9.125)):
            compared = compared_with(measured(9.5, how, kld=0.02), references)
            delta = compared.measurement.scores[1].delta
            assert delta is not None and delta.value == 9.5 - base
            assert compared.unlike is None


@pytest.mark.parametrize("form", ["html", "md"])
def test_tables_for_people_have_the_mark_and_the_reason(form: str) -> None:
    drawn = render(table(HALF), form)
    assert "≠ +0.5000" in drawn and "≠ 0.0200" in drawn
    assert "≠ +0.2500" not in drawn and "≠ 0.0100" not in drawn
    assert f"NVFP4: computed in {WORDS}" in drawn


def test_the_terminal_has_both_too() -> None:
    out = io.StringIO()
    to_terminal(table(HALF), out)
    assert "≠ +0.5000" in out.getvalue() and "≠ NVFP4: computed in" in out.getvalue()


def test_programs_are_told_the_figures_and_both_arithmetics() -> None:
    compared = table(HALF)
    rows = json.loads(render(compared, "json"))["rows"]
    assert [each["unlike"] for each in rows] == [[], ["kld", "ppl_delta"], []]
    (of_level,) = rows[1]["measurements"]
    assert of_level["unlike"] == WORDS
    assert of_level["arithmetic"] == {"device": "cpu", "precision": "bfloat16"}
    lines = list(csv.DictReader(io.StringIO(render(compared, "csv"))))
    assert [line["unlike"] for line in lines] == ["", "kld ppl_delta", ""]
    again = Comparison.of([record.row(each) for each in record.rows(compared)])
    assert [each.unlike for each in again.rows] == [each.unlike for each in compared.rows]


def test_a_run_that_is_read_again_keeps_them(tmp_path: Path) -> None:
    old = Path(__file__).parent.parent / "data" / "runs" / "all.json"
    document = json.loads(old.read_bytes())
    document["rows"] = record.rows(table(HALF))
    read = merge([summary(document, tmp_path / "run.json")])
    assert [each.unlike for each in read.rows] == [(), ("kld", "ppl_delta"), ()]
    assert [each.computed_on for each in read.rows] == [None, *[ON_CPU] * 2]


def test_a_table_of_several_models_has_the_mark() -> None:
    models = {"one": table(HALF), "two": table(PLAIN)}
    (block,) = matrix(models)
    cells = {line[0]: line[1:] for line in block.body}
    assert cells["NVFP4"] == ["≠ 0.0200", "0.0200"]


def test_the_gate_says_so_too() -> None:
    for how, unlike in ((HALF, True), (PLAIN, False)):
        reference, level, _ = table(how).rows
        gathered = Gatherer([reference, level]).of(level, reference, "kld")
        assert isinstance(gathered, list)
        (evidence,) = gathered
        assert (f"computed in {WORDS}" in str(evidence.note)) == unlike


def test_an_imported_reference_by_other_software_is_marked() -> None:
    """A reference file may be of a checkpoint, and what is measured against it a GGUF file."""
    theirs = measured(9.0, HALF)
    imported = replace(theirs, measurement=replace(theirs.measurement, imported={"model": "m"}))
    ours = measured(9.5, None, kld=0.02)
    ours = replace(ours, measurement=replace(ours.measurement, by="llama.cpp 0.6"))
    compared = compared_with(ours, [imported])
    words = "its types by llama.cpp, and the reference in bfloat16 on a cpu by transformers"
    assert compared.unlike == words
    rows = [row("BF16", imported, reference=True), row("INT4", compared)]
    said = f"≠ INT4: computed in {words}: small differences may come of that alone"
    assert said in remarks(Comparison.of(rows).rows, ())
    assert compared_with(ours, [theirs]).unlike is None, "one run chooses what is beside what"
    same = compared_with(measured(9.5, HALF, kld=0.02), [imported])
    assert same.unlike is None
    precise = compared_with(measured(9.5, PLAIN, kld=0.02), [imported])
    assert precise.unlike == "float32 on a cpu, and the reference in bfloat16 on a cpu"
