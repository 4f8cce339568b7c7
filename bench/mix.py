"""Mixes under a budget beside the standard names of the same bytes, on held-out text.

Losses are measured on one text, KL divergences of whole files on another. Both files are made with
the same importance matrix.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bench.evaluating import N_CTX, TEXT, THREADS
from bench.measure import Bench, Row
from qpipe.calibration.sensitivity import SMALL_BLOCKS, TYPES
from qpipe.engines.common import gguf_mix
from qpipe.engines.gguf import NativeParams
from qpipe.evaluators.kld import KldParams, measure
from qpipe.evaluators.logprobs import store
from qpipe.evaluators.text.distributions import KLD
from qpipe.evaluators.text.interfaces import Nll, Tokens
from qpipe.evaluators.text.protocols import protocol
from qpipe.evaluators.text.reference import Reference
from qpipe.evaluators.text.windows import tokenize
from qpipe.gguf import imatrix as matrices
from qpipe.gguf.convert import convert
from qpipe.gguf.quantize import prepare, quantize
from qpipe.gguf.types import GGMLType
from qpipe.llamacpp.backend import LlamaCppBackend
from qpipe.llamacpp.importance import importance
from qpipe.mix.measuring import Effort
from qpipe.mix.measuring import measure as measure_losses
from qpipe.mix.sensitivity import Sensitivity
from qpipe.mix.target import MixTarget
from qpipe.results.windows import student
from qpipe.sources.pinning import DATA
from qpipe.stages.base import Order

MODELS = ("stories260K", "tinystories-d256")
LEVELS = ("Q3_K_M", "Q4_K_S", "Q4_K_M")
CALIBRATION = DATA / "texts" / "tinystories_lower_train.txt"


def rows(bench: Bench) -> list[Row]:
    """The mean KL divergence of each mix beside that of the name, and what measuring took."""
    return [row for name in MODELS for row in _of_model(DATA / name, bench.sub(f"mix-{name}"))]


def _of_model(source: Path, folder: Path) -> Iterator[Row]:
    base, matrix = folder / "F16.gguf", folder / "imatrix.gguf"
    convert(source, base, outtype="F16")
    _importances(base, matrix)
    windows = _windows(base)
    reference = _reference(base, folder)
    files = {level: folder / f"{level}.gguf" for level in LEVELS}
    for level, path in files.items():
        quantize(base, path, ftype=level, imatrix=matrix)
    started = time.perf_counter()
    standard = {level: _divergence(path, reference) for level, path in files.items()}
    of_levels = (time.perf_counter() - started) / len(files)
    started = time.perf_counter()
    losses = measure_losses(
        base,
        windows,
        [GGMLType[name] for name in (*TYPES, *SMALL_BLOCKS)],
        Effort(samples=128, levels=8, anchors=2),
        imatrix=matrices.read(matrix),
        threads=THREADS,
        folder=folder,
        text=CALIBRATION.name,
    )
    took = time.perf_counter() - started
    losses.save(folder)
    what = source.name
    yield Row(f"{what}: measuring the losses", took, "s", "12 levels", 12 * of_levels, limit=1.0)
    for level, path in files.items():
        mix, seconds = _mix(base, matrix, losses, folder, path.stat().st_size)
        yield Row(f"{what}: choosing for {level}", seconds, "s", limit=1.0)
        yield Row(
            f"{what}: bytes for {level}",
            mix.stat().st_size,
            "B",
            level,
            path.stat().st_size,
            limit=1.0,
        )
        ours = _divergence(mix, reference)
        mean, half = _interval(ours)
        theirs, beside = _interval(standard[level])
        yield Row(f"{what}: kld at the bytes of {level}", mean, "", level, theirs, limit=0.8)
        yield Row(
            f"{what}: upper end of it, {level}", mean + half, "", "lower end", theirs - beside,
            limit=1.0,
        )  # fmt: skip


def _mix(
    base: Path, matrix: Path, losses: Sensitivity, folder: Path, size: int
) -> tuple[Path, float]:
    """The file for a size, and the seconds that choosing took."""
    target = MixTarget(size=size)
    params = NativeParams(type="Q8_0", target=target)
    order = Order({gguf_mix.SENSITIVITY: folder})
    started = time.perf_counter()
    plan = gguf_mix.prepared(
        params, target, order, lambda request: prepare(base, request, imatrix=matrix)
    )
    seconds = time.perf_counter() - started
    out = folder / f"mix-{size}.gguf"
    plan.write(out, threads=THREADS)
    return out, seconds


def _importances(base: Path, out: Path) -> None:
    found = importance(base, CALIBRATION.read_text(), n_ctx=N_CTX, chunks=128, threads=THREADS)
    matrices.write(
        out,
        {name: (entry.sums, entry.counts) for name, entry in found.entries.items()},
        datasets=[CALIBRATION.name],
        chunks=found.chunks,
        chunk_size=found.n_ctx,
    )


def _windows(base: Path) -> Tokens:
    with LlamaCppBackend(base, threads=THREADS) as backend:
        tokens = backend.tokenize(CALIBRATION.read_text())
        windows = tokens[: len(tokens) // N_CTX * N_CTX].reshape(-1, N_CTX).copy()
        if backend.bos is not None:
            windows[:, 0] = backend.bos
    return windows


def _reference(base: Path, folder: Path) -> Reference:
    out = folder / "reference"
    out.mkdir()
    with LlamaCppBackend(base, threads=THREADS) as backend:
        how = protocol("llamacpp-512").with_overrides(n_ctx=N_CTX)
        tokenized = tokenize(TEXT.read_text(), backend, how, name=TEXT.name)
        return store(backend, tokenized, out)[0]


def _divergence(model: Path, reference: Reference) -> Nll:
    """The mean KL divergence of each held-out window."""
    with LlamaCppBackend(model, threads=THREADS) as backend:
        values = measure(backend, reference, KldParams()).values
    return np.array([each[:, KLD].mean() for each in values])


def _interval(values: Nll) -> tuple[float, float]:
    half = student(len(values) - 1) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return float(values.mean()), half
