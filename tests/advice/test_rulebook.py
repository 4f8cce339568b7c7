"""The rules are data with sources, and what they say is what their sources have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from qpipe.advice.evidence import QualityEvidence
from qpipe.advice.rulebook import RULES, rulebook
from qpipe.errors import RecipeError
from qpipe.session.advising.published import published

TEXT = RULES.read_text(encoding="utf-8")


def changed(tmp_path: Path, old: str, new: str) -> Path:
    assert old in TEXT
    path = tmp_path / "rules.yaml"
    path.write_text(TEXT.replace(old, new, 1), encoding="utf-8")
    return path


def test_every_rule_has_a_source_with_an_address_and_a_time() -> None:
    book = rulebook()
    for rule in book.rules:
        source = book.source(rule)
        assert source.url.startswith("https://") and source.when, rule.id
        assert rule.says.en != rule.says.zh
        assert re.search("[一-鿿]", rule.says.zh), rule.id


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("    source: k-quants\n", "    source: nowhere\n", "sources that are not there: nowhere"),
        ("    source: k-quants\n", "", "rules.1.source: Field required"),
        ('    date: "2023-06"\n', "", "a source has a version or a date"),
        ("effect: {points: 3}", "effect: {}", "a rule has one effect"),
        ("device: [cpu, cpu+gpu]", "device: [tpu]", "Input should be"),
        ("  - id: k-quants-on-cpu\n", "  - id: gguf-on-cpu\n", "there twice: gguf-on-cpu"),
        ("schema: 1", "schema: [", "did not find expected"),
    ],
)
def test_a_rule_that_is_none_is_refused(tmp_path: Path, old: str, new: str, words: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(words)):
        rulebook(changed(tmp_path, old, new))


def kld(name: str, *, calibrated: bool) -> float:
    figures: list[QualityEvidence] = [
        each
        for each in published()["gguf", name]
        if each.model == "meta-llama/Meta-Llama-3-8B" and each.metric == "kld"
    ]
    return next(each.value for each in figures if each.calibrated == calibrated)


def test_figures_in_rules_are_those_of_the_published_table() -> None:
    said = {rule.id: rule.says.en for rule in rulebook().rules}
    base = kld("Q4_K_M", calibrated=False)
    assert f"Q4_0 diverges {kld('Q4_0', calibrated=False) / base:.1f} times" in said["smallest"]
    assert f"Q2_K {kld('Q2_K', calibrated=False) / base:.0f} times" in said["smallest"]
    assert f"{kld('Q8_0', calibrated=False):.4f}" in said["half-precision"]
    twice = kld("Q4_0", calibrated=False) / kld("IQ4_XS", calibrated=True)
    assert 1.9 < twice < 2.1 and "twice as much" in said["older-types"]
