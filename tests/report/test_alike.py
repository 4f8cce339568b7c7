from __future__ import annotations

import pytest

from qpipe.report.alike import grouped, listed, nodes


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a"], "a"),
        (["a", "b"], "a and b"),
        (["a", "b", "c"], "a, b and c"),
        (["a", "b", "c", "d", "e"], "a, b and 3 others"),
        (["quantize[Q4_K_M]"], "quantize[Q4_K_M]"),
        (["quantize[A]", "quantize[B]"], "quantize[A and B]"),
        ([f"quantize[{level}]" for level in "ABCDE"], "quantize[A, B and 3 others]"),
        ([f"quantize[m {level}]" for level in "ABCDE"], "quantize[m A, B and 3 others]"),
        (["quantize[m A]", "quantize[n A]"], "quantize[m A and n A]"),
        (["quantize[A]", "kld[A]"], "quantize[A] and kld[A]"),
        (["quantize[A]", "quantize"], "quantize[A] and quantize"),
    ],
)
def test_names_in_words(names: list[str], words: str) -> None:
    assert nodes(names) == words


def test_rows_have_no_stage() -> None:
    assert listed(["Q4_0", "Q8_0", "F16", "F32"]) == "Q4_0, Q8_0 and 2 others"


def test_reasons_that_are_the_same_but_for_the_name() -> None:
    told = grouped(
        [
            ("quantize[IQ1_S]", "IQ1_S makes 'blk.0' IQ1_S, which is garbage"),
            ("quantize[IQ1_M]", "quantize[IQ1_M]: IQ1_M makes 'blk.0' IQ1_M, which is garbage"),
            ("quantize[Q4_0]", "the disk is full"),
            ("quantize[m IQ2_S]", "IQ2_S makes 'blk.0' IQ2_S, which is garbage"),
            ("kld[IQ1_S]", "IQ1_S makes 'blk.0' IQ1_S, which is garbage"),
        ]
    )
    assert told == [
        (
            ["quantize[IQ1_S]", "quantize[IQ1_M]", "quantize[m IQ2_S]"],
            "IQ1_S makes 'blk.0' IQ1_S, which is garbage",
        ),
        (["quantize[Q4_0]"], "the disk is full"),
        (["kld[IQ1_S]"], "IQ1_S makes 'blk.0' IQ1_S, which is garbage"),
    ]


def test_a_level_is_not_a_part_of_another() -> None:
    assert len(grouped([("q[Q4]", "Q4_0 is odd"), ("q[Q5]", "Q5_0 is odd")])) == 2
