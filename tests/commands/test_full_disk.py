"""A disk that gets full stops a sweep: one message, what is finished, and on from there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from qpipe.core.store import ArtifactStore
from tests.cli import qpipe

pytestmark = pytest.mark.slow


def test_a_full_disk_stops_a_sweep(tmp_path: Path, small_disk: Callable[[str], Path]) -> None:
    disk = small_disk("48m")
    filler = disk / "filler"
    filler.write_bytes(b"x" * (34 << 20))
    levels = "quantize.type=Q4_0,Q8_0,F16,F32"
    words = ("run", "local", "-m", "model.source=builtin:tinystories-d256", levels)
    asked = (*words, "evaluate.chunks=1", "executor=inline", "--store", str(disk / "store"))
    refused = qpipe(*asked, cwd=tmp_path)
    assert refused.code == 1, refused
    assert "the run would write" in refused.stderr
    assert "With --keep-going it starts all the same" in refused.stderr
    store = ArtifactStore(disk / "store")
    assert not [*store.all_keys()]
    ran = qpipe(*asked, "--keep-going", cwd=tmp_path)
    assert ran.code == 1, ran
    failed = [line for line in ran.stderr.splitlines() if line.startswith("failed  ")]
    assert len(failed) == 1, ran.stderr
    for told in ("qpipe gc --max-size", "free now: ", f"for {disk / 'store'}", "left to make take"):
        assert told in failed[0]
    assert "as the disk is full" in ran.stderr
    assert "Q4_0" in ran.stdout
    assert all(store.verify(key) is None for key in store.all_keys())
    filler.unlink()
    again = qpipe(*asked, "--json", cwd=tmp_path)
    assert again.code == 0, again
    nodes = {node["name"]: node["status"] for node in json.loads(again.stdout)["nodes"]}
    assert "cached" in nodes.values()
    assert set(nodes.values()) == {"cached", "ran"}
