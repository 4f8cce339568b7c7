"""Forecasts beside what a run came to."""

from __future__ import annotations

from pathlib import Path

from qpipe.session.estimating import accuracy
from tests.session.conftest import Swept


def test_sizes_of_what_was_made_are_what_was_said(swept: Swept) -> None:
    """Up to what a file notes of its making, some hundred bytes (docs/sizes.md)."""
    found = {(e.stage, e.quantity): e for e in accuracy.errors(Path(swept.session.store))}
    size = found["quantize", "size"]
    assert size.count == 2
    assert abs(size.worst) * size.actual < 4096
    assert found["quantize", "seconds"].count == 2  # each by the other
    assert found["quantize", "memory"].actual > 1 << 20


def test_an_empty_store_has_none(tmp_path: Path) -> None:
    assert accuracy.errors(tmp_path / "store") == []
