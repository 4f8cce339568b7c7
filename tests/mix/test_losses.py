"""The losses of a tensor from its anchors and errors, in numbers worked out by hand."""

from __future__ import annotations

import pytest

from qpipe.gguf.types import GGMLType
from qpipe.mix.losses import anchors, losses_of


def test_losses_between_anchors_lie_on_the_line() -> None:
    errors = {GGMLType.Q3_K: 16e-3, GGMLType.Q4_K: 4e-3, GGMLType.Q6_K: 1e-3, GGMLType.Q8_0: 1e-4}
    measured = {GGMLType.Q3_K: 0.16, GGMLType.Q6_K: 0.01}
    losses = losses_of(errors, measured)
    assert losses[GGMLType.Q4_K] == pytest.approx(0.04)
    assert losses[GGMLType.Q8_0] == pytest.approx(0.001)
    assert losses_of({GGMLType.F16: 0.0}, {}) == {GGMLType.F16: 0.0}


def test_anchors_lie_evenly_from_small_to_large() -> None:
    kinds = [GGMLType.Q8_0, GGMLType.Q2_K, GGMLType.Q6_K, GGMLType.Q4_K]
    assert anchors(kinds[:3], 1) == [GGMLType.Q6_K]
    assert anchors(kinds, 2) == [GGMLType.Q2_K, GGMLType.Q6_K]
    assert set(anchors(kinds, 9)) == set(kinds)
