"""Which figure stands for a format, how far it transfers, and what counts as clearly better."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from qpipe.advice.evidence import QualityEvidence, chosen, signature

BASE = QualityEvidence(
    "kld",
    0.03,
    "a/Big-8B",
    "published",
    "a table",
    "t a/Big-8B kld",
    stderr=0.001,
    weights=8 * 10**9,
)


def pick(
    *known: QualityEvidence, model: str = "a/Big-8B", weights: int = 8 * 10**9
) -> QualityEvidence | None:
    return chosen(known, model=model, weights=weights, calibrated=False)


def test_own_runs_come_before_published_and_these_before_other_models() -> None:
    own = replace(BASE, origin="run", value=0.04)
    other = replace(BASE, model="a/Other-7B", value=0.02, weights=7 * 10**9)
    found = pick(other, BASE, own)
    assert found is not None and (found.value, found.transfer) == (0.04, "same model")
    found = pick(other, BASE)
    assert found is not None and (found.value, found.transfer) == (0.03, "same model")
    found = pick(other)
    assert found is not None and (found.value, found.transfer) == (0.02, "another model")


def test_a_name_in_other_case_is_the_same_model() -> None:
    found = pick(BASE, model="A/big-8b")
    assert found is not None and found.transfer == "same model"


def test_the_nearest_in_weights_stands_for_others() -> None:
    near = replace(BASE, model="a/Other-7B", weights=7 * 10**9)
    far = replace(BASE, model="a/Small-1B", weights=10**9, value=0.01)
    found = pick(far, near, model="a/New-9B", weights=9 * 10**9)
    assert found is not None and found.model == "a/Other-7B"


@pytest.mark.parametrize("weights", [3_400_000, 90_000_000, 200 * 10**9])
def test_toys_and_giants_say_nothing_of_others(weights: int) -> None:
    other = replace(BASE, model="a/other", weights=weights)
    assert pick(other) is None


def test_nothing_is_known() -> None:
    assert pick() is None


def test_clearly_better_is_beyond_both_errors_and_measured_alike() -> None:
    better = replace(BASE, value=0.02)
    assert better.clearly_better(BASE) and not BASE.clearly_better(better)
    assert not replace(BASE, value=0.0285).clearly_better(BASE), "1.5 of 1.4 standard errors"
    assert not replace(better, group="another text").clearly_better(BASE)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"method": "gguf", "type": "q4_k_m"}, {"method": "gguf", "type": "Q4_K_M"}, True),
        ({"method": "gguf", "type": "Q4_K_S"}, {"method": "gguf", "type": "Q4_K_M"}, False),
        ({"method": "gptq"}, {"method": "gptq", "wbits": 4, "group_size": 128}, True),
        ({"method": "gptq", "bits": 8}, {"method": "gptq"}, False),
        ({"method": "fp8"}, {"method": "fp8", "scheme": "dynamic"}, True),
        ({"method": "int8", "scheme": "w8a8"}, {"method": "int8"}, False),
        ({"method": "exl2", "bits": 5.0}, {"method": "exl2", "bpw": 5}, True),
    ],
)
def test_sections_that_make_the_same_format(
    one: dict[str, Any], other: dict[str, Any], same: bool
) -> None:
    assert (signature(one) == signature(other)) is same
