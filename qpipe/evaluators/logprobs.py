"""The reference's own measurement, and its distributions for the KL divergence of others."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, cast

from pydantic import Field

from qpipe.core.graph import Resources
from qpipe.core.key import Json
from qpipe.evaluators.common.backends import NO_DISTRIBUTIONS, LogitsEvaluator, Transformers
from qpipe.evaluators.common.parameters import OnCpuParams
from qpipe.evaluators.text.description import about, measurement, scores_of, write_measured
from qpipe.results.measurement import Measurement
from qpipe.results.scores import score
from qpipe.stages.base import Order, ParamsModel, Preview, Work
from qpipe.stages.device import CPU, CUDA
from qpipe.stages.evaluator import write_result

if TYPE_CHECKING:
    from qpipe.evaluators.text.interfaces import Backend
    from qpipe.evaluators.text.reference import Reference
    from qpipe.evaluators.text.token_scores import Progress
    from qpipe.evaluators.text.windows import Tokenized

# Windows that are computed a second time, each alone, for the noise floor.
_AGAIN = 4


class LogprobsParams(OnCpuParams):
    """Settings of a stored reference; the stage in role ``tokens`` says everything else."""

    metric: Literal["logprobs"] = "logprobs"
    backend: Literal["llama.cpp"] = Field(
        "llama.cpp",
        description=(
            "What computes the reference. auto: llama.cpp for a GGUF file, transformers for a "
            "checkpoint."
        ),
    )
    top_k: int | None = Field(
        None,
        ge=1,
        description=(
            "How many of the reference's likeliest tokens are stored: kld is then known within "
            "bounds, in far less room. null: all."
        ),
    )


class Logprobs(LogitsEvaluator):
    """Perplexity of a reference, its distributions, and how far it is from itself.

    Its ``kld_noise`` is the noise floor: a second computation, in other batches, of some windows
    against what was stored of the first. Nothing nearer to the reference can be told from it. What
    is stored is rounded to 16 bits, so it may be negative: -1e-7.
    """

    version = 5
    foresees = True
    lacking = NO_DISTRIBUTIONS
    roles: ClassVar[tuple[str, ...]] = ("model", "tokens")
    Params: ClassVar[ParamsModel] = LogprobsParams

    @classmethod
    def resources(cls, params: LogprobsParams, *, cores: int) -> Resources:
        """The backend's, and all cores: every level waits for this."""
        return replace(super().resources(params, cores=cores), cpus=cores)

    @classmethod
    def preview(cls, params: LogprobsParams, order: Order) -> Preview | None:
        """Forecast the size of the distributions on disk: no model, but often larger than one. It
        is an upper bound while the text is not tokenized."""
        from qpipe.evaluators.text.reference import form_of
        from qpipe.evaluators.text.windows import load

        n_vocab = _n_vocab(order)
        if n_vocab is None:
            return None
        form, at_most = form_of(n_vocab, params.top_k), "tokens" not in order.inputs
        if not at_most:
            scored = load(order.inputs["tokens"]).windows.scored
        elif tokens := order.foreseen.get("tokens"):
            scored = cast(int, tokens.facts["tokens_scored"])
        else:
            return None
        size = form.row_type.itemsize * scored
        facts: dict[str, Json] = {"format": "log-probabilities", "size_bytes": size}
        return Preview({**facts, "tokens": scored}, {}, at_most=at_most)

    def run(self, params: LogprobsParams, work: Work) -> Measurement:
        """Raises CheckpointError (the model), DataError (tokens of another model, its logits),
        RecipeError (a ``top_k`` that saves nothing)."""
        from qpipe.evaluators.text.windows import load

        tokenized = load(work.inputs["tokens"])
        with self.backend.open(work.inputs["model"], params, threads=work.threads) as backend:
            started = time.perf_counter()
            stored, computed = store(
                backend,
                tokenized,
                work.out,
                top_k=params.top_k,
                progress=lambda done, total: work.progress(done, total, "tokens"),
                partial=work.partial,
            )
            seconds = time.perf_counter() - started
            floor = _floor(backend, stored)
        described = stored.about
        scores = [scores_of(tokenized, stored.nll), score("kld_noise", floor)]
        write_measured(work.out, described, scores)
        speed = computed * tokenized.windows.tokens.shape[1] / seconds if computed else None
        return measurement(described, scores, seconds, speed, by=backend)


def _n_vocab(order: Order) -> int | None:
    """Logits a token, from headers alone, None if not even they are there. Raises
    CheckpointError."""
    from qpipe.gguf.inspect import inspect

    if "model" not in order.inputs:
        foreseen = order.foreseen.get("model")
        return None if foreseen is None else foreseen.n_vocab
    model = order.inputs["model"]
    inspection = inspect(model)
    if any(model.glob("*.gguf")):
        return int(inspection["tokenizer"]["tokens"])
    return int(inspection["metadata"]["vocab_size"])


def store(
    backend: Backend,
    tokenized: Tokenized,
    out: Path,
    *,
    top_k: int | None = None,
    progress: Progress | None = None,
    partial: Path | None = None,
) -> tuple[Reference, int]:
    """Fill ``out`` with all but the scores; also how many windows were computed here.

    ``partial`` is where finished windows are kept.
    """
    import numpy as np

    from qpipe.evaluators.text.distributions import StoringScorer
    from qpipe.evaluators.text.reference import DISTRIBUTIONS, NLL, Reference, form_of
    from qpipe.evaluators.text.token_scores import GroupFiles, WindowPass

    windows = tokenized.windows
    aside = out if partial is None else partial
    if partial is not None and not (partial / DISTRIBUTIONS).exists():
        shutil.rmtree(partial, ignore_errors=True)  # an attempt that had moved it already
    aside.mkdir(parents=True, exist_ok=True)
    scorer = StoringScorer(windows, aside / DISTRIBUTIONS, form_of(backend.n_vocab, top_k))
    work = WindowPass(
        backend, windows, order=range(len(windows.tokens)), files=GroupFiles(partial), filled=True
    )
    try:
        computed = work.run(scorer, progress=progress)
    finally:
        scorer.close()
    (aside / DISTRIBUTIONS).replace(out / DISTRIBUTIONS)
    np.save(out / NLL, np.concatenate(work.values)[:, 0])
    described = about(tokenized, backend)
    if top_k is not None:
        described["protocol"] = f"{described['protocol']} top_k={top_k}"
    write_result(out, {**described, "n_vocab": backend.n_vocab, "top_k": top_k})
    return Reference(out, tokenized), computed


def _floor(backend: Backend, stored: Reference) -> float:
    import numpy as np

    from qpipe.evaluators.text.distributions import KLD, DivergenceScorer
    from qpipe.evaluators.text.token_scores import GroupFiles, WindowPass

    windows = stored.tokenized.windows
    scorer = DivergenceScorer(windows, stored.rows, stored.nll, form=stored.form)
    parts = []
    for window in _spread(len(windows.tokens)):
        work = WindowPass(backend, windows, order=[window], files=GroupFiles(None))
        work.run(scorer)
        parts += work.values
    return float(np.concatenate(parts)[:, KLD].mean())


def _spread(count: int) -> Sequence[int]:
    """Some windows from all over the text."""
    return range(0, count, max(1, -(-count // _AGAIN)))


class TransformersLogprobsParams(LogprobsParams):
    """The same, by transformers."""

    TORCH = True
    DEVICES = (CPU, CUDA)

    backend: Literal["transformers"] = "transformers"  # type: ignore[assignment]


class TransformersLogprobs(Logprobs):
    """The same of a checkpoint, by transformers in the worker's process."""

    version = 4
    Params: ClassVar[ParamsModel] = TransformersLogprobsParams
    backend = Transformers
