"""Perplexity of a model on a text, under a named protocol."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from qpipe.core.key import Json
from qpipe.errors import RecipeError
from qpipe.evaluators.common.backends import LogitsEvaluator, Transformers
from qpipe.evaluators.common.parameters import KvParams, NoKvParams, ProtocolName, departing
from qpipe.evaluators.text.description import (
    about,
    measurement,
    scores_of,
    sums_of,
    write_measured,
)
from qpipe.evaluators.text.protocols import Protocol
from qpipe.evaluators.text.protocols import protocol as find_protocol
from qpipe.results.measurement import Measurement
from qpipe.results.scores import Score
from qpipe.stages.base import ParamsModel, SourceFile, Work
from qpipe.stages.evaluator import only_file
from qpipe.texts.whole import form, read

if TYPE_CHECKING:
    from qpipe.evaluators.text.interfaces import Backend, Nll
    from qpipe.evaluators.text.token_scores import Progress
    from qpipe.evaluators.text.windows import Tokenized


@dataclass(frozen=True)
class TimedNll:
    """``nll`` is of each scored token, in nats, in the order of the text."""

    nll: Nll
    seconds: float
    tokens_per_second: float | None
    """Of decoding and scoring, not loading; None if all of it had been done before."""


def perplexity(model_path: Path, text: str, *, protocol: Protocol, threads: int) -> Score:
    """The score, with its standard error, of a GGUF file, computed by llama.cpp in this process.

    Raises EngineMissingError, CheckpointError (the file), DataError (the text or its logits).
    """
    from qpipe.evaluators.text.windows import tokenize
    from qpipe.llamacpp.backend import LlamaCppBackend

    with LlamaCppBackend(model_path, threads=threads) as backend:
        tokenized = tokenize(text, backend, protocol, name="")
        return scores_of(tokenized, measure(backend, tokenized).nll)


def measure(
    backend: Backend,
    tokenized: Tokenized,
    *,
    progress: Progress | None = None,
    partial: Path | None = None,
) -> TimedNll:
    """Measure each token's nll by any backend; ``partial`` is where finished windows are kept.

    Raises DataError for NaN logits and for tokens of another model.
    """
    import numpy as np

    from qpipe.evaluators.text.token_scores import GroupFiles, NllScorer, WindowPass

    windows = tokenized.windows
    work = WindowPass(backend, windows, order=range(len(windows.tokens)), files=GroupFiles(partial))
    started = time.perf_counter()
    computed = work.run(NllScorer(windows), progress=progress)
    seconds = time.perf_counter() - started
    speed = computed * windows.tokens.shape[1] / seconds if computed else None
    return TimedNll(np.concatenate(work.values)[:, 0], seconds, speed)


class PerplexityParams(KvParams):
    """Settings of perplexity; with a stage in role ``tokens`` only the backend is left to say.

    Without such a stage, the model itself tokenizes ``text``.
    """

    metric: Literal["perplexity"] = "perplexity"
    backend: Literal["llama.cpp"] = Field(
        "llama.cpp",
        description=(
            "What computes: llama.cpp for a GGUF file, transformers for a checkpoint, or "
            "llama-perplexity from PATH. auto: by the container."
        ),
    )
    text: SourceFile | None = Field(
        None,
        description=(
            "The text to measure on, where no stage `tokens` is wired. null: that stage says it."
        ),
    )
    protocol: ProtocolName | None = Field(
        None, description="How the text is cut and scored, where text is given. null: llamacpp-512."
    )
    n_ctx: int | None = Field(
        None, ge=3, description="Tokens of a window, where text is given. null: the protocol's."
    )
    chunks: int | None = Field(
        None, ge=1, description="Windows that are taken at most, where text is given. null: all."
    )

    @model_validator(mode="after")
    def _all_or_nothing(self) -> PerplexityParams:
        if self.text is None and (self.protocol, self.n_ctx, self.chunks) != (None, None, None):
            raise ValueError(
                "protocol, n_ctx and chunks say how a text is cut, and none is given: name one "
                "with text, or say this where the stage in needs.tokens is"
            )
        return self

    def cutting(self) -> Protocol:
        """The protocol by which the text is cut."""
        return find_protocol(self.protocol or "llamacpp-512").with_overrides(
            n_ctx=self.n_ctx, chunks=self.chunks
        )


class Perplexity(LogitsEvaluator):
    """Perplexity by llama.cpp in the worker's own process.

    ``windows.json`` is what differences to other models are computed from
    (`qpipe.results.windows`).
    """

    version = 4
    optional_roles: ClassVar[tuple[str, ...]] = ("tokens",)
    Params: ClassVar[ParamsModel] = PerplexityParams

    @classmethod
    def fingerprint(cls, params: PerplexityParams) -> Mapping[str, Json]:
        """Versions of what computes, and of the protocol if it is applied here."""
        if params.text is None:
            return super().fingerprint(params)
        own = {"protocol": params.cutting().version, **form(params.text)}
        return {**super().fingerprint(params), **own}

    def run(self, params: PerplexityParams, work: Work) -> Measurement:
        """Raises CheckpointError (the model), DataError (the text or its logits)."""
        with self.backend.open(work.inputs["model"], params, threads=work.threads) as backend:
            tokenized = _tokenized(params, work, backend)
            likelihoods = measure(
                backend,
                tokenized,
                progress=lambda done, total: work.progress(done, total, "tokens"),
                partial=work.partial,
            )
            described = departing(about(tokenized, backend), params)
        scores = [scores_of(tokenized, likelihoods.nll)]
        write_measured(work.out, described, scores)
        sums_of(tokenized, likelihoods.nll).write(work.out)
        speed = likelihoods.tokens_per_second
        return measurement(described, scores, likelihoods.seconds, speed, by=backend)


def _tokenized(params: PerplexityParams, work: Work, backend: Backend) -> Tokenized:
    from qpipe.evaluators.text.windows import load, tokenize

    if "tokens" in work.inputs:
        if params.text is not None:
            raise RecipeError("evaluate: needs.tokens and text are both given; keep one of them")
        return load(work.inputs["tokens"])
    if params.text is None:
        raise RecipeError(
            "evaluate: no text is measured: wire `needs: {tokens: STAGE}`, or give text"
        )
    file = only_file(work.inputs["text"])
    whole = read(file)
    return tokenize(whole.text, backend, params.cutting(), name=file.name, rows=whole.rows)


class TransformersPerplexityParams(PerplexityParams, NoKvParams):
    """The same, by transformers."""

    backend: Literal["transformers"] = "transformers"  # type: ignore[assignment]


class TransformersPerplexity(Perplexity):
    """Perplexity of a checkpoint, plain or quantized, by transformers in the worker's process."""

    version = 3
    Params: ClassVar[ParamsModel] = TransformersPerplexityParams
    backend = Transformers
