"""Accuracy that own runs measured, as the share of the model's own that is kept."""

from __future__ import annotations

import math
from typing import Any

import pytest

from qpipe.session.advising.own_tasks import accuracy, kept

ABOUT: dict[str, Any] = {"model": "a/b", "origin": "run", "source": "own run"}


def facts(acc: float, norm: float = 0.9, *, items: int = 200) -> dict[str, Any]:
    return {
        "acc[one]": acc,
        "acc_stderr[one]": 0.02,
        "acc_norm[one]": norm,
        "exact_match[two]": 0.5,
        "exact_match_stderr[two]": 0.03,
        "protocol": "lm-eval 0.4.13",
        "items": items,
        "backend": "llama.cpp",
    }


def test_a_share_of_the_reference() -> None:
    own, reference = accuracy(facts(0.57)), accuracy(facts(0.6))
    assert own is not None and reference is not None
    assert own.value == pytest.approx((0.57 + 0.5) / 2)
    figure = kept(own, reference, ABOUT)
    assert figure is not None and figure.metric == "accuracy"
    assert figure.value == pytest.approx(1.07 / 1.1)
    error = math.hypot(0.02, 0.03) / 2
    assert figure.stderr == pytest.approx(math.hypot(error, error) / 0.55)


def test_other_items_are_another_measurement() -> None:
    own, other = accuracy(facts(0.6)), accuracy(facts(0.6, items=100))
    assert own is not None and other is not None and own.alike != other.alike


def test_a_text_is_no_task() -> None:
    assert accuracy({"ppl": 7.1, "kld": 0.01, "protocol": "llamacpp-512"}) is None


def test_nothing_is_kept_of_nothing() -> None:
    own, none = accuracy(facts(0.5)), accuracy({"acc[one]": 0.0, "protocol": "lm-eval"})
    assert own is not None and none is not None
    assert kept(own, none, ABOUT) is None
