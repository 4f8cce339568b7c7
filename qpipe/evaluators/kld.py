"""How far a model is from its reference: KL divergence and what goes with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from qpipe.core.key import Json
from qpipe.evaluators.backends import LogitsEvaluator, Transformers
from qpipe.evaluators.kv import KvParams, NoKvParams, departing
from qpipe.evaluators.reporting import about, facts
from qpipe.evaluators.stored import Stored
from qpipe.evaluators.tokenized import load
from qpipe.stages.base import ParamsModel, Work
from qpipe.stages.evaluate import write_result

if TYPE_CHECKING:
    from qpipe.evaluators.metrics.backend import Backend
    from qpipe.evaluators.metrics.passing import Progress
    from qpipe.evaluators.metrics.scores import Values
    from qpipe.evaluators.metrics.statistics import Interval

# Windows before which nothing is called precise: the spread of fewer is not known well enough, and
# the chance that it looks small too early is what biases a measurement that stops by itself.
LEAST = 16
# Intervals are this much wider than those of as many windows chosen beforehand: stopping at the
# first that is tight enough favours those that are so by chance. With it they cover what all
# windows give in 95 of 100 orders (tests/evaluators/test_precision.py; without, in 92 to 94).
WIDER = 1.1


class KldParams(KvParams):
    """``precision`` full evaluates all windows; a number stops, windows being taken in a fixed
    random order, once the 95 % interval of what all would give is ± that share of the value: of the
    mean KL divergence, or of ppl's difference (``precision_of``)."""

    metric: Literal["kld"] = "kld"
    backend: Literal["llama.cpp"] = "llama.cpp"
    precision: Annotated[float, Field(gt=0, lt=1)] | Literal["full"] = "full"
    precision_of: Literal["kld", "ppl"] = "kld"


class Kld(LogitsEvaluator):
    """Measured against the distributions that a stage of metric ``logprobs`` stored."""

    version = 1
    roles: ClassVar[tuple[str, ...]] = ("model", "tokens", "reference")
    Params: ClassVar[ParamsModel] = KldParams

    def run(self, params: KldParams, work: Work) -> Mapping[str, Json]:
        """Raises CheckpointError (the model), DataError (its logits, tokens of another model, a
        reference of another vocabulary or on other tokens)."""
        tokenized = load(work.inputs["tokens"])
        stored = Stored(work.inputs["reference"], tokenized)
        with self.backend.open(work.inputs["model"], params, threads=work.threads) as backend:
            stored.require_same(n_vocab=backend.n_vocab, model="this model")
            started = time.perf_counter()
            found, computed = measure(
                backend,
                stored,
                params,
                progress=lambda done, total: work.progress(done, total, "tokens"),
                partial=work.partial,
            )
            seconds = time.perf_counter() - started
            described = departing(about(tokenized, backend), params)
        width = tokenized.windows.tokens.shape[1]
        described |= _extent(found, stored, params, width=width)
        scores = scores_of(found, stored)
        write_result(work.out, {**described, **scores, "params": params.model_dump()})
        return facts(described, scores, seconds, computed * width / seconds if computed else None)


def measure(
    backend: Backend,
    stored: Stored,
    params: KldParams,
    *,
    progress: Progress | None = None,
    partial: Path | None = None,
) -> tuple[list[Values], int]:
    """The values of each window that was needed, and how many were computed here."""
    from qpipe.evaluators.metrics.distributions import DivergenceScorer
    from qpipe.evaluators.metrics.passing import Kept, Pass

    windows = stored.tokenized.windows
    scorer = DivergenceScorer(windows, stored.rows, stored.nll)
    order = _order(len(windows.tokens), params)
    work = Pass(backend, windows, order=order, kept=Kept(partial))
    computed = work.run(scorer, progress=progress, enough=_enough(stored, params))
    return work.found, computed


def _order(count: int, params: KldParams) -> Sequence[int]:
    """The text's own order, or one at random that is the same for every model."""
    import numpy as np

    if params.precision == "full":
        return range(count)
    return [int(window) for window in np.random.default_rng(count).permutation(count)]


def _enough(stored: Stored, params: KldParams) -> Callable[[Sequence[Values]], bool]:
    precision = params.precision

    def enough(found: Sequence[Values]) -> bool:
        if precision == "full" or len(found) < LEAST:
            return False
        return interval(found, stored, params.precision_of).relative <= precision

    return enough


def interval(found: Sequence[Values], stored: Stored, what: str) -> Interval:
    """The 95 % interval for what all windows would give: of mean kld, or of ppl's difference."""
    from qpipe.evaluators.metrics.distributions import KLD, NLL, REFERENCE_NLL
    from qpipe.evaluators.metrics.statistics import Interval, over_windows, perplexity

    available = len(stored.tokenized.windows.tokens)
    if what == "kld":
        kld = over_windows([part[:, KLD] for part in found], available=available)
        return Interval(kld.value, WIDER * kld.half)
    moved = over_windows(
        [part[:, NLL] - part[:, REFERENCE_NLL] for part in found], available=available
    )
    ours = perplexity(stored.nll + moved.value).value
    return Interval(ours - perplexity(stored.nll).value, WIDER * ours * moved.half)


def _extent(
    found: Sequence[Values], stored: Stored, params: KldParams, *, width: int
) -> dict[str, Json]:
    """How much of the text was enough; a precision that was not reached took all of it."""
    windows = stored.tokenized.windows
    if params.precision == "full":
        return {}
    reached = interval(found, stored, params.precision_of)
    scored = sum(map(len, found))
    words = (
        f"{scored:,} of {windows.scored:,} tokens were enough for {params.precision_of} "
        f"± {params.precision:.3g} of its value"
        if len(found) < len(windows.tokens)
        else f"no fewer than all {scored:,} tokens give {params.precision_of} "
        f"± {params.precision:.3g} of its value"
    )
    return {
        "tokens": len(found) * width,
        "tokens_scored": scored,
        "chunks": len(found),
        "interval": [reached.value - reached.half, reached.value + reached.half],
        "sampling": words,
    }


def scores_of(found: Sequence[Values], stored: Stored) -> dict[str, float]:
    """All scores, as llama-perplexity --kl-divergence names and computes them.

    ppl is of the whole text: the reference's there, moved by what the model's likelihoods differ
    from it on the windows that were evaluated.
    """
    import numpy as np

    from qpipe.evaluators.metrics.distributions import KLD, NLL, REFERENCE_NLL, SAME_TOP
    from qpipe.evaluators.metrics.statistics import (
        mean,
        paired_difference,
        perplexity,
        root_mean_square,
    )

    values = np.concatenate(list(found))
    nll, theirs = values[:, NLL], values[:, REFERENCE_NLL]
    kld, same = mean(values[:, KLD]), mean(values[:, SAME_TOP])
    dp = root_mean_square(np.exp(-nll) - np.exp(-theirs))
    reference = perplexity(stored.nll)
    ppl = perplexity(stored.nll + float((nll - theirs).mean()))
    whole = len(nll) == len(stored.nll)
    return {
        "kld": kld.value,
        "kld_stderr": kld.stderr,
        "kld_median": float(np.median(values[:, KLD])),
        "kld_p99": float(np.quantile(values[:, KLD], 0.99)),
        "kld_max": float(values[:, KLD].max()),
        "same_top_pct": 100 * same.value,
        "same_top_pct_stderr": 100 * same.stderr,
        "rms_dp_pct": 100 * dp.value,
        "rms_dp_pct_stderr": 100 * dp.stderr,
        "ppl": ppl.value,
        "ppl_stderr": perplexity(nll).stderr if whole else ppl.stderr,
        "ppl_delta": ppl.value - reference.value,
        "ppl_delta_stderr": paired_difference(nll, theirs).stderr,
    }


class TransformersKldParams(KldParams, NoKvParams):
    """The same, by transformers."""

    backend: Literal["transformers"] = "transformers"  # type: ignore[assignment]


class TransformersKld(Kld):
    """The same of a checkpoint, plain or quantized, by transformers in the worker's process."""

    version = 1
    Params: ClassVar[ParamsModel] = TransformersKldParams
    backend = Transformers
