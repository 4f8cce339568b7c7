"""A model whose mixes are measured: its file, importance matrix, windows to measure losses on, and
what it says of a held-out text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.evaluating import N_CTX, TEXT, THREADS
from bench.trained import NAME, trained
from qpipe.calibration.sensitivity import DEFAULTS
from qpipe.evaluators.kld import KldParams, measure
from qpipe.evaluators.logprobs import store
from qpipe.evaluators.text.distributions import KLD
from qpipe.evaluators.text.interfaces import Nll, Tokens
from qpipe.evaluators.text.protocols import protocol
from qpipe.evaluators.text.reference import Reference
from qpipe.evaluators.text.windows import tokenize
from qpipe.gguf import imatrix as matrices
from qpipe.gguf.convert import convert
from qpipe.gguf.imatrix import IMatrix
from qpipe.gguf.quantize import quantize
from qpipe.gguf.types import GGMLType
from qpipe.llamacpp.backend import LlamaCppBackend
from qpipe.llamacpp.importance import importance
from qpipe.mix.measuring import Effort
from qpipe.mix.measuring import measure as measure_losses
from qpipe.mix.sensitivity import Sensitivity
from qpipe.results.windows import student
from qpipe.sources.pinning import DATA

MODELS = ("stories260K", "tinystories-d256", NAME)
LEVELS = ("Q3_K_M", "Q4_K_S", "Q4_K_M")
CALIBRATION = DATA / "texts" / "tinystories_lower_train.txt"


@dataclass(frozen=True)
class Subject:
    """The model ``name``, its F16 file in ``folder`` and what belongs to it."""

    name: str
    folder: Path
    base: Path
    matrix: Path

    @classmethod
    def of(cls, name: str, folder: Path) -> Subject:
        """Make the files."""
        source = trained() if name == NAME else DATA / name
        base, matrix = folder / "F16.gguf", folder / "imatrix.gguf"
        convert(source, base, outtype="F16")
        _importances(base, matrix)
        return cls(name, folder, base, matrix)

    @property
    def imatrix(self) -> IMatrix:
        """The importance matrix, read."""
        return matrices.read(self.matrix)

    def level(self, name: str) -> Path:
        """The file of a standard name."""
        path = self.folder / f"{name}.gguf"
        if not path.is_file():
            quantize(self.base, path, ftype=name, imatrix=self.matrix)
        return path

    def windows(self, text: Path = CALIBRATION) -> Tokens:
        """Windows [n, N_CTX] of a text, BOS before each."""
        with LlamaCppBackend(self.base, threads=THREADS) as backend:
            tokens = backend.tokenize(text.read_text())
            windows = tokens[: len(tokens) // N_CTX * N_CTX].reshape(-1, N_CTX).copy()
            if backend.bos is not None:
                windows[:, 0] = backend.bos
        return windows

    def losses(self, effort: Effort) -> Sensitivity:
        """What each tensor loses, measured as the stage does."""
        return measure_losses(
            self.base,
            self.windows(),
            [GGMLType[name] for name in DEFAULTS],
            effort,
            imatrix=self.imatrix,
            threads=THREADS,
            folder=self.folder,
            text=CALIBRATION.name,
        )

    def reference(self) -> Reference:
        """What the model says of the held-out text."""
        out = self.folder / "reference"
        out.mkdir()
        with LlamaCppBackend(self.base, threads=THREADS) as backend:
            how = protocol("llamacpp-512").with_overrides(n_ctx=N_CTX)
            tokenized = tokenize(TEXT.read_text(), backend, how, name=TEXT.name)
            return store(backend, tokenized, out)[0]


def divergence(model: Path, reference: Reference) -> Nll:
    """The mean KL divergence of each held-out window."""
    with LlamaCppBackend(model, threads=THREADS) as backend:
        values = measure(backend, reference, KldParams()).values
    return np.array([each[:, KLD].mean() for each in values])


def interval(values: Nll) -> tuple[float, float]:
    """The mean, and half its 95 % interval."""
    half = student(len(values) - 1) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return float(values.mean()), half


def _importances(base: Path, out: Path) -> None:
    text = CALIBRATION.read_text()
    importances = importance(base, text, n_ctx=N_CTX, chunks=128, threads=THREADS, with_output=True)
    matrices.write(
        out,
        {name: (entry.sums, entry.counts) for name, entry in importances.entries.items()},
        datasets=[CALIBRATION.name],
        chunks=importances.chunks,
        chunk_size=importances.n_ctx,
    )
