"""What a real size costs on all cores of this machine: the whole command beside the quantizer's own
time, F16 beside Q4_K_M, threads beside one, bytes hashed beside bytes that there are.

A model of 7 billion weights is not made for it: what each further weight takes is the difference of
two models of its shape, with one layer and with four.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median

from bench import llamacpp, making
from bench.measure import Bench, Row, Spent, call, seconds, spent
from qpipe.machine.capacity import usable_cores

LEVEL = "Q4_K_M"
SMALL, LARGE = "qwen2.5-7b-1-layer", "qwen2.5-7b-4-layers"
_ROOT = Path(__file__).parents[1]


def rows(bench: Bench) -> list[Row]:
    """CPU and wall times, of interleaved rounds, their medians; and bytes."""
    cores = usable_cores()
    small, large = (making.Model(bench, name, threads=cores) for name in (SMALL, LARGE))
    works: dict[str, Callable[[], Spent]] = {
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
        *_beside(bench, small, taken["whole small"].wall),
    ]
    for model in (small, large):
        model.remove()
    return found


def _counts(cores: int) -> list[int]:
    """1, 2, 4, … threads, and as many as there are cores."""
    return sorted({cores, *(1 << n for n in range(cores.bit_length()) if 1 << n <= cores)})


def _medians(works: Mapping[str, Callable[[], Spent]], *, rounds: int) -> dict[str, Spent]:
    for work in works.values():
        work()
    taken: dict[str, list[Spent]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            taken[name].append(work())
    return {
        name: Spent(median(one.cpu for one in each), median(one.wall for one in each), 0)
        for name, each in taken.items()
    }


def _whole(model: making.Model) -> Spent:
    return spent(lambda: model.ours(LEVEL))


def _own(bench: Bench, model: making.Model, ftype: str, threads: int) -> Spent:
    out = model.folder / "own.gguf"
    command = [bench.python, "-m", "bench.quantizer", model.checkpoint, out, ftype, threads]
    cpu, wall = json.loads(call(command, cwd=_ROOT))
    out.unlink()
    return Spent(cpu, wall, 0)


def _written(model: making.Model) -> Spent:
    """The time in which one thread writes as many bytes as the file in half precision has."""
    out, data = model.folder / "written", bytes(1 << 21)
    count = (model.checkpoint / "model.safetensors").stat().st_size // len(data)

    def write() -> None:
        with out.open("wb", buffering=0) as file:
            for _ in range(count):
                file.write(data)

    wall = seconds(write)
    out.unlink()
    return Spent(wall, wall, 0)


def _whole_rows(taken: Mapping[str, Spent]) -> Iterator[Row]:
    peer, sizes = "the quantizer alone", {"small": "0.47", "large": "1.17"}
    for of in ("cpu", "wall"):
        at = {name: getattr(spent, of) for name, spent in taken.items()}
        for size, weights in sizes.items():
            what = f"{LEVEL}, {weights} billion weights, whole command, {of}"
            yield Row(what, at[f"whole {size}"], "s", peer, at[f"own {size}"])
        whole, own = (at[f"{which} large"] - at[f"{which} small"] for which in ("whole", "own"))
        yield Row(f"each further 0.7 billion, {of}", whole, "s", peer, own, 1.6)


def _convert_rows(taken: Mapping[str, Spent]) -> list[Row]:
    peers = {LEVEL: taken["own large"], "bytes that one thread writes": taken["written"]}
    what, slower = "F16, 1.17 billion weights", max(peers, key=lambda peer: peers[peer].wall)
    return [
        Row(what, taken["F16"].wall, "s", peer, theirs.wall, 1.2 if peer == slower else None)
        for peer, theirs in peers.items()
    ]


def _thread_rows(taken: Mapping[str, Spent], cores: int) -> Iterator[Row]:
    """Core seconds beside those of one thread: an efficiency of 0.7 is a ratio of 1.43."""
    one = taken["1 threads"]
    for n in _counts(cores)[1:]:
        now = taken[f"{n} threads"]
        yield Row(f"{n} threads, core seconds", n * now.wall, "s", "1 thread", one.wall, 1.43)
        yield Row(f"{n} threads, CPU seconds", now.cpu, "s", "1 thread", one.cpu)


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
