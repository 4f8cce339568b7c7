"""A finished sweep of 12 levels, made once for all benchmarks that look at a filled store."""

from __future__ import annotations

import json
from pathlib import Path

from bench.measure import Bench, call

RECIPE = Path(__file__).with_name("sweep.yaml")
LEVELS = 12


def finished(bench: Bench) -> Path:
    """The store in which every node of the sweep is cached."""
    store = bench.sub("sweep") / "store"
    if not store.exists():
        run(bench, store)
    return store


def run(bench: Bench, store: Path) -> dict[str, int]:
    """Run the sweep; its nodes by status."""
    folder = bench.sub("sweep")
    command = [bench.qpipe, "run", RECIPE, "--json", "--store", store, "--runs", folder / "runs"]
    nodes = json.loads(call(command, cwd=folder))["nodes"]
    states = [node["status"] for node in nodes]
    return {state: states.count(state) for state in set(states)}
