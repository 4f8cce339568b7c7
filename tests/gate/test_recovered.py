"""Counts worked out from reports are those that the items had."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qpipe.gate.paired_items import PairedItems
from qpipe.gate.recovered import recovered
from qpipe.report.paired_difference import compare
from qpipe.results.scores import Score, score


def reported(counts: PairedItems, right: int, *, where: str = "t") -> Score:
    """An accuracy as a report has it, ``right`` items being right under both."""
    wrong = counts.items - counts.lost - counts.gained - right
    pairs = [(0.0, 1.0)] * counts.lost + [(1.0, 0.0)] * counts.gained
    pairs += [(1.0, 1.0)] * right + [(0.0, 0.0)] * wrong
    value = (right + counts.gained) / counts.items
    stderr = math.sqrt(value * (1 - value) / (counts.items - 1))
    delta = compare([(1.0, pairs)])
    return score("acc", value, where=where, stderr=stderr, delta=delta)


@settings(max_examples=40)
@given(lost=st.integers(0, 60), gained=st.integers(0, 60), rest=st.integers(50, 400))
def test_one_task(lost: int, gained: int, rest: int) -> None:
    counts = PairedItems(lost + gained + rest, lost, gained)
    found = recovered({"acc[t]": reported(counts, rest // 2)}, counts.items)
    assert found is not None
    assert found["acc[t]"].items == counts.items and found["acc[t]"].value == counts.value
    if abs(lost - gained) > 1:
        assert found["acc[t]"] == counts
    else:  # p is 1 whatever their number: the interval, which is a bootstrap's, tells
        assert found["acc[t]"].discordant == pytest.approx(counts.discordant, abs=4, rel=0.15)


def test_several_tasks() -> None:
    parts = {"acc[a]": PairedItems(400, 30, 11), "acc[b]": PairedItems(250, 5, 12)}
    scores = {key: reported(each, 100, where=key[4]) for key, each in parts.items()}
    assert recovered(scores, 650) == parts
    assert recovered(scores, 700) is None, "items of a task that has no such score"


def test_a_task_that_is_all_right() -> None:
    parts = {"acc[a]": PairedItems(400, 30, 11), "acc[b]": PairedItems(50, 0, 0)}
    scores = {"acc[a]": reported(parts["acc[a]"], 100), "acc[b]": reported(parts["acc[b]"], 50)}
    assert recovered(scores, 450) == parts


def test_what_contradicts_itself() -> None:
    one = reported(PairedItems(400, 30, 11), 100)
    assert recovered({"acc[t]": one}, 399) is None
    assert recovered({"acc[t]": score("acc", 0.5, where="t")}, 100) is None
    assert recovered({"acc[t]": one}, 1 << 60) is None
    odd = replace(one, delta=replace(one.delta, p=0.0123))  # type: ignore[type-var]
    assert recovered({"acc[t]": odd}, 400) is None
