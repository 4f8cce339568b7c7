"""For whom a level is: by what was measured, and only as far as it can be told apart."""

from __future__ import annotations

import pytest

from qpipe.results.comparison import ModelRow
from tests.export.card.contents import kld, levels, ppl, row

SENTENCES = {
    "apart": (
        [row("Q8_0", 80, kld(0.001, 0.0001)), row("Q4_0", 40, kld(0.1))],
        {
            "Q8_0": "the least loss, 1% of that of Q4_0 for 100% more bytes",
            "Q4_0": "the smallest",
        },
    ),
    "one between": (
        [
            row("Q8_0", 80, kld(0.001, 1e-5)),
            row("Q5_K_M", 50, kld(0.03)),
            row("Q2_K", 20, kld(1.0)),
        ],
        {"Q5_K_M": "the least loss up to its size, 3% of that of Q2_K for 150% more bytes"},
    ),
    "dominated": (
        [row("Q4_0", 41, kld(0.2)), row("IQ4_XS", 40, kld(0.1))],
        {
            "IQ4_XS": "the smallest and the least loss",
            "Q4_0": "not worth its size: IQ4_XS is no larger and lost less",
        },
    ),
    "behind, and not surely": (
        [row("Q4_1", 45, kld(0.1005, 0.01)), row("Q4_K_M", 40, kld(0.1, 0.01))],
        {"Q4_1": "no larger file is needed: Q4_K_M lost no more that could be seen"},
    ),
    "ahead, and not surely": (
        [row("Q5_1", 50, kld(0.099, 0.01)), row("Q5_0", 40, kld(0.1, 0.01))],
        {"Q5_1": "the least loss, not surely less than that of Q5_0"},
    ),
    "nothing seen": (
        [row("Q8_0", 80, ppl(10.001, 0.001, 0.01)), row("Q4_0", 40, ppl(11.0, 1.0, 0.1))],
        {
            "Q8_0": "the least loss, not told from no loss (up to +0.0110 is possible)",
            "Q4_0": "the smallest",
        },
    ),
    "one alone": (
        [row("Q8_0", 80, kld(0.001, 0.0001))],
        {"Q8_0": "the smallest and the least loss"},
    ),
    "one of them unmeasured": (
        [row("Q8_0", 80, kld(0.001)), row("Q4_0", 40)],
        {"Q4_0": "not measured"},
    ),
    "none measured": ([row("Q8_0", 80), row("Q4_0", 40)], {"Q8_0": "", "Q4_0": ""}),
    "the same tensors": (
        [row("Q4_K_M", 40, kld(0.1)), row("Q4_K_S", 40, kld(0.1), same_as="Q4_K_M")],
        {"Q4_K_S": "the same tensors as Q4_K_M"},
    ),
}


@pytest.mark.parametrize("case", sorted(SENTENCES))
def test_sentences(case: str) -> None:
    rows, sentences = SENTENCES[case]
    ranked = levels(*rows)
    by_name = {each.name: each for each in ranked.rows}
    assert {name: ranked.sentence(by_name[name]) for name in sentences} == sentences


def test_the_divergence_ranks_before_perplexity() -> None:
    both: list[ModelRow] = [
        row("Q8_0", 80, kld(0.001), ppl(10.5, 0.5, 0.1)),
        row("Q4_0", 40, kld(0.1), ppl(10.1, 0.1, 0.1)),
    ]
    ranked = levels(*both)
    assert ranked.key == "kld"
    assert [each.name for each in ranked.front] == ["Q4_0", "Q8_0"]


def test_a_score_that_all_have_ranks_before_one_that_few_have() -> None:
    ranked = levels(
        row("Q8_0", 80, kld(0.001), ppl(10.1, 0.1, 0.1)), row("Q4_0", 40, ppl(10.5, 0.5, 0.1))
    )
    assert ranked.key == "ppl"
