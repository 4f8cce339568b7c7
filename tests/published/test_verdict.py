"""Verdicts and the tolerances behind them, in parts."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from qpipe.published.comparable import beforehand
from qpipe.published.figures import Ours
from qpipe.published.load import load
from qpipe.published.schema import PublishedValue
from qpipe.published.tolerance import allowance
from qpipe.published.verdict import judge, shown, signed

TABLE = """\
schema: 1
title: One
source: {{document: tests, revision: null}}
metrics: {{m: {metric}}}
shared: {{model: x/y, recipe: local, overrides: {overrides}}}
rows:
  - {{format: Q4_0, values: {{m: {value}}}}}
"""
TEXT = "{of: ppl, protocol: llamacpp-512"


def one(
    tmp_path: Path, value: str, metric: str = TEXT + "}", overrides: str = "[]"
) -> PublishedValue:
    file = tmp_path / "one.yaml"
    file.write_text(TABLE.format(value=value, metric=metric, overrides=overrides))
    return load(file).values[0]


def ours(value: float, **more: object) -> Ours:
    return Ours(value, **{"protocol": "llamacpp-512", "text": "wiki.test.raw", **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("printed", "measured", "word"),
    [
        ("6.1", 6.149, "reproduced"),
        ("6.1", 6.151, "off"),
        ("6.10", 6.105, "reproduced"),
        ("6.10", 6.106, "off"),
        ("6", 6.5, "reproduced"),
        ("6e1", 64.9, "reproduced"),
    ],
)
def test_digits_that_were_printed_bound_the_rounding(
    printed: str, measured: float, word: str, tmp_path: Path
) -> None:
    assert judge(one(tmp_path, printed), ours(measured)).word == word


def test_parts_add_up(tmp_path: Path) -> None:
    spread = "tolerances: [{why: builds, absolute: 0.03}, {why: cards, relative: 0.01}]}"
    value = one(tmp_path, "{value: 5.00, stderr: 0.02}", f"{TEXT}, {spread}")
    allowed = allowance(value, ours(5.0, stderr=0.01))
    sampling = 1.96 * math.hypot(0.02, 0.01)
    assert [p.name for p in allowed.parts] == ["rounding", "sampling", "spread", "spread"]
    assert [p.size for p in allowed.parts] == pytest.approx([0.005, sampling, 0.03, 0.05])
    assert allowed.total == pytest.approx(0.005 + math.hypot(sampling, 0.03, 0.05))


def test_a_published_interval_is_a_standard_error(tmp_path: Path) -> None:
    value = one(tmp_path, "{value: 5.0, interval: [4.804, 5.196]}")
    sampling = next(p for p in allowance(value, ours(5.0)).parts if p.name == "sampling")
    assert sampling.size == pytest.approx(0.196)


def test_the_same_tokens_share_their_sampling_error(tmp_path: Path) -> None:
    value = one(tmp_path, "{value: 5.0, stderr: 1}", f"{TEXT}, tokens_sha256: abc}}")
    same = judge(value, ours(5.2, stderr=1.0, tokens_sha256="abc"))
    assert (same.word, same.why) == ("off", "off by +0.20 (4.00 × tolerance)")
    other = judge(value, ours(5.2, stderr=1.0, tokens_sha256="abd"))
    assert other.word == "not_comparable"
    assert other.why.startswith("other tokens: published on abc…, measured on abd…")


def test_the_toy_texts_stand_for_no_other(tmp_path: Path) -> None:
    value = one(tmp_path, "5.0", f"{TEXT}, text: WikiText-2}}")
    verdict = judge(value, ours(5.0, text="tinystories_lower_heldout.txt"))
    assert verdict.word == "not_comparable"
    assert "evaluate.text=FILE" in verdict.why
    unstated = judge(one(tmp_path, "5.0"), ours(5.0, text="tinystories_lower_heldout.txt"))
    assert "published on one that was not stated" in unstated.why


@pytest.mark.parametrize(
    ("stated", "overrides", "measured", "reason"),
    [
        ("gptq-2048", "[]", "llamacpp-512", "evaluate.protocol=gptq-2048 in overrides"),
        ("llamacpp-512", "[]", "llamacpp-512 chunks=20", "evaluate.chunks=null in overrides"),
        ("llamacpp-512", "[evaluate.chunks=20]", "llamacpp-512 chunks=20", None),
        ("llamacpp-512 chunks=20", "[]", "llamacpp-512 chunks=20", None),
        ("llamacpp-512 chunks=20", "[]", "llamacpp-512", "evaluate.chunks=20 in overrides"),
    ],
)
def test_a_protocol_and_its_departures_are_the_tables(
    stated: str, overrides: str, measured: str, reason: str | None, tmp_path: Path
) -> None:
    value = one(tmp_path, "5.0", f"{{of: ppl, protocol: {stated}}}", overrides)
    verdict = judge(value, ours(5.0, protocol=measured))
    assert verdict.word == ("reproduced" if reason is None else "not_comparable")
    assert (reason or "") in verdict.why


def test_unknown_calibration_makes_no_verdict_of_a_difference(tmp_path: Path) -> None:
    value = one(tmp_path, "5.0")
    assert judge(value, ours(5.0), calibrated=True).word == "reproduced"
    verdict = judge(value, ours(6.0), calibrated=True)
    assert verdict.word == "not_comparable"
    assert verdict.why.startswith("unknown calibration")
    assert "off by +1.00 (20 × tolerance)" in verdict.why
    assert judge(value, ours(6.0)).word == "off"


@pytest.mark.parametrize(
    ("stated", "same"),
    [
        ("RTX 3090", False),
        ("rtx 3090 ti", True),
        ("NVIDIA GeForce RTX 3090 Ti, Linux", True),
        ("AMD EPYC 7763, 2 cores", True),
        ("AMD EPYC 9654", False),
        ("2 cores", False),
        (None, False),
    ],
)
def test_speeds_are_compared_on_the_same_hardware(
    stated: str | None, same: bool, tmp_path: Path
) -> None:
    hardware = "null" if stated is None else repr(stated)
    value = one(tmp_path, "5.0", f"{{of: pp, hardware: {hardware}}}")
    machine = ["AMD EPYC 7763", "NVIDIA GeForce RTX 3090 Ti", "Linux 6.1 x86_64 2"]
    assert (beforehand(value, machine) is None) == same


def test_figures_of_ours_have_a_digit_more(tmp_path: Path) -> None:
    value = one(tmp_path, "0.02")
    assert shown(value, 0.0234567) == "0.023"
    assert shown(value, 0.0000123) == "1.2e-05"
    assert signed(value, -0.0016) == "-0.002"
