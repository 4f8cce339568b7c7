"""Mixes under a budget beside the standard names of the same bytes, on held-out text.

Losses are measured on one text, KL divergences of whole files on another. Both files are made with
the same importance matrix.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from bench.evaluating import THREADS
from bench.measure import Bench, Row
from bench.mix_subject import LEVELS, MODELS, Subject, divergence, interval
from qpipe.engines.common import gguf_mix
from qpipe.engines.gguf import NativeParams
from qpipe.gguf.quantize import prepare
from qpipe.mix.measuring import Effort
from qpipe.mix.target import MixTarget
from qpipe.stages.base import Order


def rows(bench: Bench) -> list[Row]:
    """The mean KL divergence of each mix beside that of the name, and what measuring took."""
    return [row for name in MODELS for row in _of_model(Subject.of(name, bench.sub(f"mix-{name}")))]


def _of_model(subject: Subject) -> Iterator[Row]:
    reference = subject.reference()
    files = {level: subject.level(level) for level in LEVELS}
    started = time.perf_counter()
    standard = {level: divergence(path, reference) for level, path in files.items()}
    of_levels = (time.perf_counter() - started) / len(files)
    started = time.perf_counter()
    subject.losses(Effort(samples=128, levels=8, anchors=3)).save(subject.folder)
    took = time.perf_counter() - started
    what = subject.name
    yield Row(f"{what}: measuring the losses", took, "s", "12 levels", 12 * of_levels, limit=1.0)
    for level, path in files.items():
        size = path.stat().st_size
        mix, seconds = _mix(subject, size)
        yield Row(f"{what}: choosing for {level}", seconds, "s", limit=1.0)
        yield Row(f"{what}: bytes for {level}", mix.stat().st_size, "B", level, size, limit=1.0)
        mean, half = interval(divergence(mix, reference))
        theirs, beside = interval(standard[level])
        yield Row(f"{what}: kld at the bytes of {level}", mean, "", level, theirs, limit=0.8)
        yield Row(
            f"{what}: upper end of it, {level}", mean + half, "", "lower end", theirs - beside,
            limit=1.0,
        )  # fmt: skip


def _mix(subject: Subject, size: int) -> tuple[Path, float]:
    """The file for a size, and the seconds that choosing took."""
    target = MixTarget(size=size)
    params = NativeParams(type="Q8_0", target=target)
    order = Order({gguf_mix.SENSITIVITY: subject.folder})
    started = time.perf_counter()
    plan = gguf_mix.prepared(
        params,
        target,
        order,
        lambda request: prepare(subject.base, request, imatrix=subject.matrix),
    )
    seconds = time.perf_counter() - started
    out = subject.folder / f"mix-{size}.gguf"
    plan.write(out, threads=THREADS)
    return out, seconds
