"""Buffers of small models of every family that qpipe converts, against llama.cpp's log."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.memory.deviations import NATIVE, deviations, table


@pytest.mark.slow
def test_no_family_is_far_off(tmp_path: Path) -> None:
    """The worst deviations are printed (``-s``, or where it fails)."""
    found = [each for family in NATIVE for each in deviations(family, tmp_path)]
    worst = sorted(found, key=lambda each: -abs(each.off))[:20]
    print(table(worst))
    assert {each.family for each in found} == {*NATIVE}
    assert not [each for each in found if each.too_far], table(worst)
