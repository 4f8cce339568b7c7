"""Forecasts beside what a run came to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

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


def test_what_runs_recorded_goes_before_what_the_store_tells(swept: Swept, tmp_path: Path) -> None:
    store, runs = Path(swept.session.store), Path(swept.session.runs)
    found = {(e.stage, e.quantity): e for e in accuracy.errors(store, runs)}
    size = found["quantize", "size"]
    assert (size.basis, size.count) == ("runs", 2)
    assert abs(size.worst) * size.actual < 4096
    # The first run of a store foresees no time: it is worked out of what there is now.
    assert found["quantize", "seconds"].basis == "store"
    nodes = [
        {"name": name, "stage": "quantize", "forecast": figures(12.0), "actual": figures(taken)}
        for name, taken in (("a", 10.0), ("b", 16.0))
    ]
    for folder, content in (("one", json.dumps({"nodes": nodes})), ("two", "{")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "run.json").write_text(content)
    known = {(e.stage, e.quantity): e for e in accuracy.errors(store, tmp_path)}
    seconds = known["quantize", "seconds"]
    assert (seconds.basis, seconds.count, seconds.name) == ("runs", 2, "b")
    assert seconds.worst == pytest.approx(-0.25)
    assert seconds.median == pytest.approx((0.2 + 0.25) / 2)
    assert known["quantize", "size"].basis == "store"


def figures(seconds: float) -> dict[str, float | None]:
    return {"size_bytes": None, "seconds": seconds, "peak_rss": None}


def test_an_empty_store_has_none(tmp_path: Path) -> None:
    assert accuracy.errors(tmp_path / "store") == []
