"""Measurement overrules a rule, and a figure of another model does not."""

from __future__ import annotations

from dataclasses import replace

from qpipe.advice.candidates import AdvisedFormat, Footprint
from qpipe.advice.evidence import QualityEvidence, Transfer
from qpipe.advice.hardware import AdvisedMachine
from qpipe.advice.needs import Metric, Needs
from qpipe.advice.ranking import RankedRow, ranked
from qpipe.advice.rulebook import rulebook

GIB = 1 << 30
MACHINE = AdvisedMachine((), 32 * GIB)


def candidate(name: str, size: float) -> AdvisedFormat:
    there = Footprint("cpu", {"cpu": {"weights": int(size * GIB)}})
    fields = {"method": "gguf", "type": name}
    return AdvisedFormat(name, "llama.cpp", fields, "native", int(size * GIB), size, there)


def order(transfer: Transfer, *, better: float = 0.02) -> list[RankedRow]:
    values = {"Q4_K_M": 0.03, "Q4_0": better}

    def figures(each: AdvisedFormat, metric: Metric | None) -> QualityEvidence:
        return QualityEvidence(
            "kld", values[each.format], "a/b", "run", "own run", "alike", 0.001, transfer=transfer
        )

    candidates = [candidate("Q4_K_M", 4.9), candidate("Q4_0", 4.6)]
    answer = ranked(
        candidates, figures, machine=MACHINE, needs=Needs(runtime="llama.cpp"), book=rulebook()
    )
    return [*answer.rows]


def test_what_was_measured_of_this_model_overrules_a_rule() -> None:
    first, second = order("same model")
    assert first.candidate.format == "Q4_0"
    assert first.overruled == (
        "measurement overrules the rule k-quants-on-cpu: KLD 0.02 against KLD 0.03 of Q4_K_M, "
        "which is no smaller",
    )
    assert second.overruled == ()


def test_another_models_figure_overrules_nothing() -> None:
    assert [row.candidate.format for row in order("another model")] == ["Q4_K_M", "Q4_0"]


def test_a_difference_within_the_errors_overrules_nothing() -> None:
    assert order("same model", better=0.0285)[0].candidate.format == "Q4_K_M"


def test_what_was_never_measured_stays_where_rules_have_it() -> None:
    rows = [candidate("Q4_K_M", 4.9), candidate("Q4_0", 4.6)]
    answer = ranked(
        [replace(each) for each in rows],
        lambda each, metric: None,
        machine=MACHINE,
        needs=Needs(runtime="llama.cpp"),
        book=rulebook(),
    )
    assert [row.candidate.format for row in answer.rows] == ["Q4_K_M", "Q4_0"]
    assert all(row.quality is None for row in answer.rows)
