from __future__ import annotations

from dataclasses import replace

from qpipe.report.html.data import document
from qpipe.report.table import by_model
from qpipe.results.comparison import Comparison
from qpipe.results.measurement import Subject
from qpipe.results.scores import score
from tests.report.html.sweeps import LEVELS, sweep


def test_each_models_scores_have_their_own_names() -> None:
    """Of two models' tokenizers come two sets of tokens, which are two ways to measure."""
    rows = []
    for row in sweep({"a": 10**9, "b": 10**9}).rows:
        kld, speed = row.measurements
        on = Subject(text="wiki.txt", tokens_sha256=row.model)
        kld = replace(kld, measurement=replace(kld.measurement, on=on))
        rows.append(replace(row, measurements=(kld, speed)))
    both = Comparison.of(rows)
    assert "ppl" not in both.scores
    made = document(by_model(both))
    assert {"ppl", "kld", "pp", "tg"} == {each["key"] for each in made["scores"]}
    assert made["models"] == ["a", "b"]
    assert len(made["rows"]) == 2 * (1 + len(LEVELS))
    assert {len([i for i in made["front"]["kld"] if row["id"] == i]) for row in made["rows"]} == {
        0,
        1,
    }


def test_a_references_own_divergence_is_no_finding() -> None:
    comparison = sweep({"a": 10**9})
    reference, *levels = comparison.rows
    (first, speed) = reference.measurements
    noise = replace(first.measurement, scores=(*first.measurement.scores, score("kld", -1e-6)))
    reference = replace(reference, measurements=(replace(first, measurement=noise), speed))
    made = document(by_model(Comparison.of([reference, *levels])))
    (kld,) = [each for each in made["scores"] if each["key"] == "kld"]
    assert kld["log"]
    assert "kld" not in made["rows"][0]["values"]
    assert made["rows"][0]["id"] not in made["front"]["kld"]
