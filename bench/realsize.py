"""What a real size costs on all cores of this machine: the whole command beside the quantizer's own
time, F16 beside Q4_K_M, threads beside one, bytes hashed beside bytes that there are.

A model of 7 billion weights is not made for it: what each further weight takes is the difference of
two models of its shape, with one layer and with four.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median

from bench import llamacpp, making
from bench.measure import Bench, Row, call, seconds
from qpipe.machine.capacity import usable_cores

LEVEL = "Q4_K_M"
SMALL, LARGE = "qwen2.5-7b-1-layer", "qwen2.5-7b-4-layers"
_ROOT = Path(__file__).parents[1]


def rows(bench: Bench) -> list[Row]:
    """Wall times, of interleaved rounds, their medians; and bytes."""
    cores = usable_cores()
    small, large = (making.Model(bench, name, threads=cores) for name in (SMALL, LARGE))
    works: dict[str, Callable[[], float]] = {
        "whole small": partial(_whole, small),
        "whole large": partial(_whole, large),
        "own small": partial(_own, bench, small, LEVEL, cores),
        "own large": partial(_own, bench, large, LEVEL, cores),
        "F16": partial(_own, bench, large, "F16", cores),
        "written": partial(_written, large),
        **{f"{n} threads": partial(_own, bench, large, LEVEL, n) for n in _counts(cores)},
    }
    taken = _medians(works, rounds=bench.rounds)
    found = [
        *_whole_rows(taken),
        *_convert_rows(taken),
        *_thread_rows(taken, cores),
        _hashed(bench, small),
        *_beside(bench, small, taken["whole small"]),
    ]
    for model in (small, large):
        model.remove()
    return found


def _counts(cores: int) -> list[int]:
    """1, 2, 4, … threads, and as many as there are cores."""
    return sorted({cores, *(1 << n for n in range(cores.bit_length()) if 1 << n <= cores)})


def _medians(works: Mapping[str, Callable[[], float]], *, rounds: int) -> dict[str, float]:
    for work in works.values():
        work()
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            taken[name].append(work())
    return {name: median(times) for name, times in taken.items()}


def _whole(model: making.Model) -> float:
    return seconds(lambda: model.ours(LEVEL))


def _own(bench: Bench, model: making.Model, ftype: str, threads: int) -> float:
    out = model.folder / "own.gguf"
    command = [bench.python, "-m", "bench.quantizer", model.checkpoint, out, ftype, threads]
    taken: float = json.loads(call(command, cwd=_ROOT))
    out.unlink()
    return taken


def _written(model: making.Model) -> float:
    """Seconds in which one thread writes as many bytes as the file in half precision has."""
    out, data = model.folder / "written", bytes(1 << 21)
    count = (model.checkpoint / "model.safetensors").stat().st_size // len(data)

    def write() -> None:
        with out.open("wb", buffering=0) as file:
            for _ in range(count):
                file.write(data)

    taken = seconds(write)
    out.unlink()
    return taken


def _whole_rows(taken: Mapping[str, float]) -> list[Row]:
    peer = "the quantizer alone"
    small, large = ((taken[f"whole {size}"], taken[f"own {size}"]) for size in ("small", "large"))
    whole, own = large[0] - small[0], large[1] - small[1]
    return [
        Row(f"{LEVEL}, 0.47 billion weights, whole command", small[0], "s", peer, small[1]),
        Row(f"{LEVEL}, 1.17 billion weights, whole command", large[0], "s", peer, large[1]),
        Row("each further 0.7 billion", whole, "s", peer, own, limit=1.6),
    ]


def _convert_rows(taken: Mapping[str, float]) -> list[Row]:
    peers = {LEVEL: taken["own large"], "bytes that one thread writes": taken["written"]}
    what, slower = "F16, 1.17 billion weights", max(peers, key=peers.__getitem__)
    return [
        Row(what, taken["F16"], "s", peer, theirs, 1.2 if peer == slower else None)
        for peer, theirs in peers.items()
    ]


def _thread_rows(taken: Mapping[str, float], cores: int) -> list[Row]:
    """Core seconds beside those of one thread: an efficiency of 0.7 is a ratio of 1.43."""
    one = taken["1 threads"]
    return [
        Row(f"{n} threads, core seconds", n * taken[f"{n} threads"], "s", "1 thread", one, 1.43)
        for n in _counts(cores)[1:]
    ]


def _hashed(bench: Bench, model: making.Model) -> Row:
    store = model.folder / "counted"
    command = [bench.python, "-m", "bench.quantizer", "hashed", model.checkpoint, store, LEVEL]
    environment = making.offline()
    ratio: float = json.loads(call(command, cwd=_ROOT, env=environment))
    return Row("bytes hashed for each of source and result", ratio, "bytes", limit=1.001)


def _beside(bench: Bench, model: making.Model, ours: float) -> Sequence[Row]:
    """The whole command of a small model beside llama.cpp's conversion and step, on all cores."""
    if making.skipped("realsize"):
        return []
    theirs = median(seconds(lambda: model.theirs(LEVEL)) for _ in range(bench.rounds))
    what = "a small model, all cores, whole command"
    return [Row(what, ours, "s", llamacpp.NAME, theirs, limit=1 / 3)]
