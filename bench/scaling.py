"""What qpipe itself costs a node, on synthetic sweeps of up to 10,000 nodes.

Each figure is taken in a process of its own: `python -m bench.scaling plan|run COUNT STORE`.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from bench.measure import Bench, Row, call, seconds

_COUNTS = (1000, 3000, 10_000)
_LEAST, _MOST = _COUNTS[0], _COUNTS[-1]
_MEMORY = Path("/dev/shm")


def rows(bench: Bench) -> list[Row]:
    """Planning 10,000 nodes; making and finding 1k, 3k and 10k in memory, and 1k on disk."""
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
        memory = Path(folder)
        runs = _runs(bench, _COUNTS, memory)
        full = _figures(bench, "plan", _MOST, memory / str(_MOST))
        empty = _figures(bench, "plan", _MOST, memory / "empty")
    disk = _runs(bench, [_LEAST], bench.sub("scaling"))[_LEAST]
    return [
        *_plan(f"{_MOST:,} nodes keyed and planned, empty store", empty),
        *_plan(f"{_MOST:,} nodes keyed and planned, all cached", full),
        *_per_node("all to be made", {n: figures["made"] for n, figures in runs.items()}),
        *_per_node("all cached", {n: figures["cached"] for n, figures in runs.items()}),
        Row(f"a node of {_LEAST:,}, all to be made, on disk (fsync)", disk["made"], "ms"),
        Row(f"a node of {_LEAST:,}, all cached, on disk", disk["cached"], "ms"),
    ]


def _plan(what: str, figures: dict[str, float]) -> list[Row]:
    return [
        Row(what, figures["seconds"], "s", limit=3),
        Row(f"{what}, peak memory", figures["peak"] / 1e6, "MB", limit=300),
    ]


def _per_node(what: str, taken: dict[int, float]) -> list[Row]:
    slope = f"a node of {_MOST:,} against one of {_LEAST:,}, {what}"
    return [
        *(Row(f"a node of {n:,}, {what}", ms, "ms", limit=1) for n, ms in taken.items()),
        Row(slope, taken[_MOST], "ms", f"of {_LEAST:,}", taken[_LEAST], limit=1.3),
    ]


def _runs(bench: Bench, counts: Sequence[int], folder: Path) -> dict[int, dict[str, float]]:
    """Milliseconds a node by count, interleaved; the stores of the last round stay."""
    found: dict[int, list[dict[str, float]]] = {count: [] for count in counts}
    for _ in range(bench.rounds):
        for count in counts:
            store = folder / str(count)
            shutil.rmtree(store, ignore_errors=True)
            found[count].append(_figure(bench, "run", count, store))
    return {
        count: {name: median(f[name] for f in figures) / count * 1000 for name in figures[0]}
        for count, figures in found.items()
    }


def _figures(bench: Bench, work: str, count: int, store: Path) -> dict[str, float]:
    found = [_figure(bench, work, count, store) for _ in range(bench.rounds)]
    return {name: median(f[name] for f in found) for name in found[0]}


def _figure(bench: Bench, work: str, count: int, store: Path) -> dict[str, float]:
    command = [bench.python, "-m", "bench.scaling", work, str(count), store]
    figures: dict[str, float] = json.loads(call(command, cwd=Path(__file__).parents[1]))
    return figures


def _measure_plan(count: int, root: Path) -> dict[str, float]:
    from bench.toy import planned
    from qpipe.core.forecast import forecast
    from qpipe.core.store import ArtifactStore
    from qpipe.machine.usage import peak_rss

    taken = seconds(lambda: forecast(planned(count).graph, ArtifactStore(root)))
    return {"seconds": taken, "peak": peak_rss()}


def _measure_run(count: int, root: Path) -> dict[str, float]:
    from bench.toy import ToyExecutor, planned
    from qpipe.core.runner import run
    from qpipe.core.store import ArtifactStore

    graph = planned(count).graph
    assert len(graph) == count, len(graph)

    def once(status: str) -> None:
        store = ArtifactStore(root)
        result = run(graph, store=store, executor=ToyExecutor(), emit=lambda _: None)
        store.close()
        assert result.counts == {status: count}, result.counts

    return {"made": seconds(lambda: once("ran")), "cached": seconds(lambda: once("cached"))}


if __name__ == "__main__":
    measured = {"plan": _measure_plan, "run": _measure_run}[sys.argv[1]]
    print(json.dumps(measured(int(sys.argv[2]), Path(sys.argv[3]))))
