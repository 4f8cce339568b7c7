"""Six levels of a model that qpipe leaves to llama.cpp's converter, in one pass of one command."""

from __future__ import annotations

from functools import partial

from bench import llamacpp, making
from bench.measure import Bench, Row, spent
from bench.memory import peak

LEVELS = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0", "Q2_K")


def rows(bench: Bench) -> list[Row]:
    """CPU and wall time, memory beside the converter's own, and bytes beside the files."""
    if making.skipped("converter"):
        return []
    model = making.Model(bench, "orion")
    model.compare(*LEVELS)
    taken = making.pairs(
        {"ours": partial(model.ours, *LEVELS), "theirs": partial(model.theirs, *LEVELS)},
        rounds=bench.rounds,
    )
    what = f"{len(LEVELS)} levels through the converter"
    found = [
        *making.rows(what, taken["ours"], llamacpp.NAME, taken["theirs"], cpu=0.35, wall=0.3),
        *_memory(model, what),
        _written(model, what),
    ]
    model.remove()
    return found


def _memory(model: making.Model, what: str) -> list[Row]:
    ours, theirs = peak(partial(model.ours, *LEVELS)), peak(model.usual.convert)
    peer, memory = "convert_hf_to_gguf.py alone", f"{what}, peak memory"
    return [
        Row(memory, ours.own / 1e6, "MB", peer, theirs.own / 1e6, limit=1.3),
        Row(f"{memory} with mapped files", ours.mapped / 1e6, "MB", peer, theirs.mapped / 1e6),
    ]


def _written(model: making.Model, what: str) -> Row:
    """Bytes on their way to the disk beside the files; below zero where few were counted."""
    files: list[int] = []

    def make() -> None:
        files.extend(path.stat().st_size for path in model.ours(*LEVELS).values())

    written = spent(make).written
    return Row(f"{what}, written beside the files", (written - sum(files)) / 1e6, "MB", limit=10)
