"""A re-run in which everything is there already, beside Snakemake's and DVC's."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from bench import peers, sweep
from bench.measure import Bench, Row, call, interleaved


def rows(bench: Bench) -> list[Row]:
    """One row for each peer, and one for a plan that has to be composed anew."""
    store = sweep.finished(bench)
    count = sum(_all_cached(sweep.run(bench, store)).values())
    folder = bench.sub("cached")
    graph = call([bench.qpipe, "graph", sweep.RECIPE, "--json", "--store", store], cwd=folder)
    nodes = json.loads(graph)["nodes"]
    assert len(nodes) == count, (len(nodes), count)
    snakemake = _Snakemake(bench, nodes)
    dvc = _Dvc(bench, nodes)
    again = [bench.qpipe, "run", sweep.RECIPE, "-q", "--store", store, "--runs", folder / "runs"]

    def anew() -> None:
        shutil.rmtree(store / "plans")
        call(again, cwd=folder)

    taken = interleaved(
        {
            "ours": lambda: call(again, cwd=folder),
            "snakemake": snakemake.again,
            "dvc": dvc.again,
            "anew": anew,
        },
        rounds=bench.rounds,
    )
    what = f"all cached, {sweep.LEVELS} levels, {count} nodes"
    return [
        Row(what, taken["ours"], "s", snakemake.label, taken["snakemake"], limit=0.5),
        Row(what, taken["ours"], "s", dvc.label, taken["dvc"], limit=0.5),
        Row(f"{what}, composed anew", taken["anew"], "s", dvc.label, taken["dvc"]),
    ]


def _all_cached(states: Mapping[str, int]) -> Mapping[str, int]:
    if set(states) != {"cached"}:
        raise RuntimeError(f"the second run of the sweep was not all cached: {states}")
    return states


class _Peer:
    """Another tool's project with the same graph, run once."""

    name: str
    flags: tuple[str, ...] = ()

    def __init__(self, bench: Bench, nodes: list[peers.GraphNode]) -> None:
        self.program = bench.peers / "bin" / self.name
        self.folder = bench.sub("cached") / self.name
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        home = self.folder / "home"
        home.mkdir()
        self.env = {
            **os.environ,
            "HOME": str(home),
            "XDG_CACHE_HOME": str(home / "cache"),
            "DVC_NO_ANALYTICS": "1",
        }
        version = call([self.program, "--version"], cwd=self.folder, env=self.env).split()[-1]
        self.label = f"{self.name} {version}"
        self.write(nodes)
        self.again()
        missing = [n["id"] for n in nodes if not self.output(n["id"]).exists()]
        if missing:
            raise RuntimeError(f"{self.label} made no output for {missing}")

    def write(self, nodes: list[peers.GraphNode]) -> None:
        """Write the project."""
        raise NotImplementedError

    def output(self, node: str) -> Path:
        """The file that a node writes."""
        return self.folder / f"{peers.short(node)}.txt"

    def again(self) -> None:
        """Bring everything up to date."""
        call([self.program, *self.flags], cwd=self.folder, env=self.env)


class _Snakemake(_Peer):
    name = "snakemake"
    flags = ("--cores", "2", "--quiet", "all")

    def write(self, nodes: list[peers.GraphNode]) -> None:
        peers.write_snakefile(self.folder, nodes)


class _Dvc(_Peer):
    name = "dvc"
    flags = ("repro", "--quiet")

    def write(self, nodes: list[peers.GraphNode]) -> None:
        call([self.program, "init", "--quiet", "--no-scm"], cwd=self.folder, env=self.env)
        call([self.program, "config", "core.check_update", "false"], cwd=self.folder, env=self.env)
        peers.write_dvc(self.folder, nodes)
