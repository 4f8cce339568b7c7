"""Perplexity of a model on a text, under a named protocol."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from qpipe.core.key import Json
from qpipe.errors import UsageError
from qpipe.evaluators.backends import LogitsEvaluator, Transformers
from qpipe.evaluators.protocols import Protocol
from qpipe.evaluators.protocols import protocol as find_protocol
from qpipe.stages.base import ParamsModel, SourceFile, Work
from qpipe.stages.evaluate import EvaluatorParams, only_file, read_text, write_result

if TYPE_CHECKING:
    from qpipe.evaluators.metrics.backend import Backend


def _known(name: str) -> str:
    try:
        return find_protocol(name).name
    except UsageError as error:
        raise ValueError(str(error)) from None


Progress = Callable[[int, int], None]
"""Called with (tokens done, tokens in all)."""


@dataclass(frozen=True)
class PerplexityResult:
    """What was measured, on what, by what.

    ``nll`` is in nats a token and ``stderr`` belongs to ``ppl``. ``chunks`` windows were
    evaluated of ``chunks_available`` in the text; ``tokens`` is what the model was given in them,
    ``tokens_scored`` what counted. ``tokens_sha256`` is equal exactly if the windows were.
    ``seconds`` and ``tokens_per_second`` cover decoding and scoring, not loading. ``notes`` are
    warnings to show.
    """

    ppl: float
    stderr: float
    nll: float
    tokens_scored: int
    tokens: int
    tokens_in_text: int
    chunks: int
    chunks_available: int
    protocol: str
    protocol_version: int
    tokens_sha256: str
    backend: str
    backend_version: str
    seconds: float
    tokens_per_second: float
    notes: tuple[str, ...] = ()


def perplexity(
    model_path: Path,
    text: str,
    *,
    protocol: Protocol,
    threads: int,
    progress: Progress | None = None,
) -> PerplexityResult:
    """Perplexity of the GGUF file at ``model_path``, computed by llama.cpp in this process.

    Raises EngineMissingError, CheckpointError (the file), DataError (the text or its logits).
    """
    from qpipe.llamacpp.backend import LlamaCppBackend

    with LlamaCppBackend(model_path, threads=threads) as backend:
        return measure(backend, text, protocol=protocol, progress=progress)


def measure(
    backend: Backend, text: str, *, protocol: Protocol, progress: Progress | None = None
) -> PerplexityResult:
    """Perplexity by any backend; raises DataError for an unusable text and for NaN logits."""
    import numpy as np

    from qpipe.evaluators.metrics.scores import mean_nll, score
    from qpipe.evaluators.metrics.windows import cut

    windows = cut(text, backend, protocol)
    chunks, n_ctx = windows.tokens.shape
    parts = []
    started = time.perf_counter()
    for window, start, nll in score(backend, windows):
        parts.append(nll)
        if progress:
            progress(window * n_ctx + start + len(nll) + 1, chunks * n_ctx)
    seconds = time.perf_counter() - started
    found = mean_nll(np.concatenate(parts))
    return PerplexityResult(
        ppl=found.ppl,
        stderr=found.ppl_stderr,
        nll=found.mean,
        tokens_scored=found.count,
        tokens=chunks * n_ctx,
        tokens_in_text=windows.text_tokens,
        chunks=chunks,
        chunks_available=windows.available,
        protocol=protocol.label,
        protocol_version=protocol.version,
        tokens_sha256=windows.sha256,
        backend=backend.name,
        backend_version=backend.version,
        seconds=seconds,
        tokens_per_second=chunks * n_ctx / seconds,
        notes=_notes(backend, protocol),
    )


def _notes(backend: Backend, protocol: Protocol) -> tuple[str, ...]:
    if backend.n_ctx_train is None or protocol.n_ctx <= backend.n_ctx_train:
        return ()
    return (
        f"windows of {protocol.n_ctx} tokens exceed the {backend.n_ctx_train} that the model was "
        f"trained for: set evaluate.n_ctx={backend.n_ctx_train}",
    )


class PerplexityParams(EvaluatorParams):
    """``n_ctx`` and ``chunks`` depart from the protocol (None: as it says); its label says so."""

    metric: Literal["perplexity"] = "perplexity"
    backend: Literal["llama.cpp"] = "llama.cpp"
    text: SourceFile
    protocol: Annotated[str, AfterValidator(_known)] = "llamacpp-512"
    n_ctx: int | None = Field(None, ge=3)
    chunks: int | None = Field(None, ge=1)


class Perplexity(LogitsEvaluator):
    """Perplexity by llama.cpp in the worker's own process."""

    version = 1
    Params: ClassVar[ParamsModel] = PerplexityParams

    @classmethod
    def fingerprint(cls, params: PerplexityParams) -> Mapping[str, Json]:
        """What computes, and the version of the protocol."""
        version = find_protocol(params.protocol).version
        return {**super().fingerprint(params), "protocol": version}

    def run(self, params: PerplexityParams, work: Work) -> Mapping[str, Json]:
        """Raises CheckpointError (the model), DataError (the text or its logits)."""
        protocol = find_protocol(params.protocol).with_overrides(
            n_ctx=params.n_ctx, chunks=params.chunks
        )
        text = only_file(work.inputs["text"])
        with self.backend.open(work.inputs["model"], params, threads=work.threads) as backend:
            found = measure(
                backend,
                read_text(text),
                protocol=protocol,
                progress=lambda done, total: work.progress(done, total, "tokens"),
            )
        result = dataclasses.asdict(found)
        timing = {name: result.pop(name) for name in ("seconds", "tokens_per_second")}
        write_result(work.out, {**result, "text": text.name})
        return {
            "ppl": found.ppl,
            "ppl_stderr": found.stderr,
            "protocol": found.protocol,
            "text": text.name,
            "tokens": found.tokens,
            "tokens_scored": found.tokens_scored,
            "backend": f"{found.backend} {found.backend_version}",
            "notes": list(found.notes),
            **timing,
        }


class TransformersPerplexityParams(PerplexityParams):
    """The same, by transformers."""

    backend: Literal["transformers"] = "transformers"  # type: ignore[assignment]


class TransformersPerplexity(Perplexity):
    """Perplexity of a checkpoint, plain or quantized, by transformers in the worker's process."""

    version = 1
    Params = TransformersPerplexityParams
    backend = Transformers
