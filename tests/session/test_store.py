"""The store from Python, on a small one of real artifacts."""

from __future__ import annotations

from pathlib import Path

import pytest

import qpipe
from qpipe.errors import StoreError, UsageError
from tests.commands.stores import flip, make


@pytest.fixture
def store(tmp_path: Path) -> qpipe.Store:
    make(tmp_path / "store", "one", age=86400.0 * 40)
    make(tmp_path / "store", "two")
    return qpipe.Store(tmp_path / "store")


def test_what_is_in_it(store: qpipe.Store) -> None:
    assert {artifact.manifest.name for artifact in store} == {"quantize[one]", "quantize[two]"}
    first = next(iter(store))
    assert store.get(first.key[:8]) == first
    with pytest.raises(StoreError):
        store.get("0" * 8)


def test_what_is_damaged_is_told_and_set_aside(store: qpipe.Store) -> None:
    assert store.verify() == []
    damaged = next(a for a in store if a.manifest.name == "quantize[two]")
    flip(damaged.path / "model.gguf")
    seen: list[tuple[str, int, int]] = []
    (damage,) = store.verify(on_key=lambda key, n, of: seen.append((key, n, of)))
    assert damage.key == damaged.key and damage.moved_to is not None
    assert [(n, of) for _, n, of in seen] == [(1, 2), (2, 2)]
    assert [artifact.manifest.name for artifact in store] == ["quantize[one]"]


def test_what_may_go(store: qpipe.Store) -> None:
    with pytest.raises(UsageError, match="needs a limit"):
        store.collect()
    with pytest.raises(UsageError, match="max_age"):
        store.collect(max_age="soon")
    store.verify()
    assert [c.name for c in store.collect(max_age="30d", dry_run=True).removed] == ["quantize[one]"]
    assert len(list(store)) == 2
    with pytest.raises(UsageError, match="--stage evaluate"):
        store.collect(max_size="0", stage="evaluate")
    assert len(store.collect(max_size="0", stage="quantize", dry_run=True).removed) == 2
    store.collect(max_size="0")
    assert list(store) == []
