"""How far a model is from its reference: KL divergence and what goes with it."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from qpipe.core.key import Json
from qpipe.evaluators.common.backends import NO_DISTRIBUTIONS, LogitsEvaluator, Transformers
from qpipe.evaluators.common.parameters import KvParams, NoKvParams, departing
from qpipe.evaluators.frontier import Frontier, name_and_size
from qpipe.evaluators.text.description import about, measurement, of_mean, write_measured
from qpipe.evaluators.text.rivals import MEASURED, MODEL, RIVALS, SUMS, MeasuredLevel, best
from qpipe.evaluators.text.rivals import load as load_levels
from qpipe.evaluators.text.taken import BEGUN
from qpipe.results.facts import distribution_record
from qpipe.results.measurement import Distribution, Measurement
from qpipe.results.scores import Difference, Score, score
from qpipe.stages.base import Chain, ParamsModel, UnkeyedDefault, Work, keyed

if TYPE_CHECKING:
    from qpipe.evaluators.text.interfaces import Backend, Values
    from qpipe.evaluators.text.reference import Reference
    from qpipe.evaluators.text.token_scores import Progress


class KldParams(KvParams):
    """Settings of how far the text is read; windows are taken in a fixed random order."""

    metric: Literal["kld"] = "kld"
    backend: Literal["llama.cpp"] = Field(
        "llama.cpp",
        description=(
            "What computes. auto: llama.cpp for a GGUF file, transformers for a checkpoint."
        ),
    )
    precision: Annotated[float, Field(gt=0, lt=1)] | Literal["full"] = Field(
        "full",
        description=(
            "0.02: stop once the 95 % interval is within ± 2 % of the value; full: take the whole"
            " text."
        ),
    )
    precision_of: Literal["kld", "ppl"] = Field(
        "kld", description="What the interval is of: mean kld, or the difference in ppl."
    )
    first: Annotated[int | None, UnkeyedDefault()] = Field(
        None,
        ge=3,
        description=(
            "Take so many windows alone, the first of a random order that is the same for every"
            " model, as a guided sweep (hydra/sweeper=qpipe_pareto) does; null: all."
        ),
    )

    @model_validator(mode="after")
    def _first_alone(self) -> Any:
        if self.first is not None and self.precision != "full":
            raise ValueError(
                f"first={self.first} with precision={self.precision}: both say how many windows "
                "are enough; leave one of them out"
            )
        return self

    @model_validator(mode="after")
    def _precision_of_something(self) -> Any:
        if self.precision == "full" and self.precision_of != "kld":
            raise ValueError(
                f"precision_of={self.precision_of} with precision=full: all windows are taken, "
                "whatever it is of; set precision, or leave precision_of out"
            )
        return self


class Kld(LogitsEvaluator):
    """Measured against the distributions that a stage of metric ``logprobs`` stored.

    With levels in role ``rivals`` (`qpipe.evaluators.frontier`) it ends early once the best one
    that is no larger is clearly better. ``sums.npy`` is what larger levels are compared with. In
    role ``begun`` it is given the windows that a measurement of fewer took: a window's values are
    the same whichever others are computed with it, so figures are the same to the bit.
    """

    version = 5
    roles: ClassVar[tuple[str, ...]] = ("model", "tokens", "reference")
    optional_roles: ClassVar[tuple[str, ...]] = (RIVALS, BEGUN)
    lacking = NO_DISTRIBUTIONS
    chain = Chain(Frontier, model=MODEL, measured=MEASURED, rivals=RIVALS)
    Params: ClassVar[ParamsModel] = KldParams

    def run(self, params: KldParams, work: Work) -> Measurement:
        """Raises CheckpointError (the model), DataError (its logits, tokens of another model, a
        reference of another vocabulary or on other tokens)."""
        from qpipe.evaluators.text.reference import Reference
        from qpipe.evaluators.text.taken import load as load_taken
        from qpipe.evaluators.text.windows import load

        tokenized = load(work.inputs["tokens"])
        stored = Reference(work.inputs["reference"], tokenized)
        with self.backend.open(work.inputs["model"], params, threads=work.threads) as backend:
            stored.require_same(n_vocab=backend.n_vocab, model="this model")
            started = time.perf_counter()
            divergence = measure(
                backend,
                stored,
                params,
                rival=_rival(work),
                progress=lambda done, total: work.progress(done, total, "tokens"),
                partial=work.partial,
                begun=load_taken(work.inputs.get(BEGUN)),
            )
            seconds = time.perf_counter() - started
            described = departing(about(tokenized, backend), params)
        described |= divergence.extent
        scores = scores_of(divergence.values, stored)
        described |= _bounded(described, scores, stored)
        settings: dict[str, Json] = {"params": keyed(params)}
        described["distribution"] = distribution_record(spread(divergence, stored))
        write_measured(work.out, described | settings, scores)
        divergence.save_sums(work.out)
        if params.first is not None:
            divergence.save_values(work.out)
        done = divergence.computed * tokenized.windows.tokens.shape[1]
        speed = done / seconds if done else None
        return measurement(described, scores, seconds, speed, by=backend)


def _rival(work: Work) -> MeasuredLevel | None:
    """The level that the model is compared with on the way: the best known that is no larger."""
    if RIVALS not in work.inputs:
        return None
    _, size = name_and_size(work.origins["model"])
    return best(load_levels(work.inputs[RIVALS]), size=size)


@dataclass(frozen=True)
class WindowValues:
    """``values`` of each of ``windows``, in the order of the text; ``computed`` windows were not
    kept from an earlier attempt. ``extent`` says how much was enough, if less was asked for."""

    windows: Sequence[int]
    values: Sequence[Values]
    computed: int
    available: int
    extent: Mapping[str, Json]

    def save_sums(self, folder: Path) -> None:
        """Write the sums of each window, as `qpipe.evaluators.text.rivals` says."""
        import numpy as np

        from qpipe.evaluators.text.distributions import KLD, KLD_AT_MOST

        sums = np.full((self.available, 2), np.nan, "<f8")
        most = KLD_AT_MOST if self.values[0].shape[1] > KLD_AT_MOST else KLD
        for window, values in zip(self.windows, self.values, strict=True):
            sums[window] = values[:, KLD].sum(), values[:, most].sum()
        np.save(folder / SUMS, sums)

    def save_values(self, folder: Path) -> None:
        """Write the values of each token, for a measurement that goes on from here."""
        from qpipe.evaluators.text.taken import save

        save(folder, self.windows, self.values)


def measure(
    backend: Backend,
    stored: Reference,
    params: KldParams,
    *,
    rival: MeasuredLevel | None = None,
    progress: Progress | None = None,
    partial: Path | None = None,
    begun: Mapping[int, Values] | None = None,
) -> WindowValues:
    """The values of each window that was needed; those of the windows in ``begun`` are known."""
    from qpipe.evaluators.text.distributions import DivergenceScorer
    from qpipe.evaluators.text.sampling import StoppingRule, extent, first_windows
    from qpipe.evaluators.text.token_scores import GroupFiles, WindowPass

    windows = stored.tokenized.windows
    scorer = DivergenceScorer(windows, stored.rows, stored.nll, form=stored.form)
    precision = None if params.precision == "full" else params.precision
    count = len(windows.tokens)
    in_order = precision is None and rival is None and params.first is None
    order = range(count) if in_order else shuffled(count)[: params.first]
    known = {window: begun[window] for window in order if window in begun} if begun else {}
    rest = [window for window in order if window not in known] if known else order
    enough = StoppingRule(stored, order, precision, params.precision_of, rival)
    # Groups are kept by their number: those of another head start are other windows.
    files = GroupFiles(partial / f"after-{len(known)}" if partial and known else partial)
    work = WindowPass(backend, windows, order=rest, files=files, filled=True)
    computed = work.run(scorer, progress=progress, enough=enough)
    by_window = sorted({**known, **dict(zip(rest, work.values, strict=False))}.items())
    taken = [values for _, values in by_window]
    return WindowValues(
        windows=[window for window, _ in by_window],
        values=taken,
        computed=computed,
        available=count,
        extent=extent(work.values, enough)
        if params.first is None
        else first_windows(taken, stored),
    )


def shuffled(count: int) -> Sequence[int]:
    """A random order of so many windows, the same for every model."""
    import numpy as np

    return [int(window) for window in np.random.default_rng(count).permutation(count)]


def _bounded(
    described: Mapping[str, Json], scores: Sequence[Score], stored: Reference
) -> dict[str, Json]:
    """Fields that the reference's form adds: a protocol of its own, and a note on kld's bounds."""
    top_k = stored.about["top_k"]
    if top_k is None:
        return {}
    notes, kld = described["notes"], {score.key: score.value for score in scores}
    assert isinstance(notes, list)
    return {
        "protocol": f"{described['protocol']} top_k={top_k}",
        "notes": [
            *notes,
            f"kld is the least that the {top_k} likeliest tokens of the reference allow: with all "
            f"of them it is from {kld['kld']:.4g} to {kld['kld_at_most']:.4g}",
        ],
    }


def spread(divergence: WindowValues, stored: Reference) -> Distribution:
    """Distribution of the divergence over the tokens that were evaluated."""
    import numpy as np

    from qpipe.evaluators.text.distributions import KLD, SAME_TOP
    from qpipe.evaluators.text.histogram import distribution

    values = np.concatenate(list(divergence.values))
    rows = (stored.rows(window) for window in divergence.windows)
    confidence = np.concatenate([stored.form.confidence(each) for each in rows])
    return distribution(values[:, KLD], values[:, SAME_TOP], confidence)


def scores_of(window_values: Sequence[Values], stored: Reference) -> list[Score]:
    """All scores, as llama-perplexity --kl-divergence names and computes them.

    With a reference of the likeliest tokens alone kld and its quantiles are of the least that it
    can be, and kld_at_most is the mean of the most. kld and ppl are of the whole text, as
    `sampling.interval` estimates them from the windows that were evaluated; the rest is of those
    windows.
    """
    import numpy as np

    from qpipe.evaluators.text.distributions import (
        KLD,
        KLD_AT_MOST,
        NLL,
        REFERENCE_NLL,
        SAME_TOP,
    )
    from qpipe.evaluators.text.sampling import interval
    from qpipe.evaluators.text.statistics import (
        mean,
        paired_difference,
        perplexity,
        root_mean_square,
    )

    values = np.concatenate(list(window_values))
    nll, theirs = values[:, NLL], values[:, REFERENCE_NLL]
    kld, same = mean(values[:, KLD]), mean(values[:, SAME_TOP])
    dp = root_mean_square(np.exp(-nll) - np.exp(-theirs))
    reference = perplexity(stored.nll)
    if len(nll) == len(stored.nll):
        of_whole, ppl = kld.value, perplexity(nll)
    else:
        of_whole = interval(window_values, stored, "kld").value
        moved = 1 + interval(window_values, stored, "ppl").value / reference.value
        ppl = perplexity(stored.nll + math.log(moved))
    gap = values[:, KLD_AT_MOST:] - values[:, KLD : KLD + 1]
    delta = Difference(
        ppl.value - reference.value,
        paired_difference(nll, theirs).stderr,
        *_interval(window_values, ppl.value, reference.value),
    )
    return [
        *([score("kld_at_most", of_whole + float(gap.mean()))] if gap.size else []),
        of_mean("kld", replace(kld, value=of_whole)),
        score("kld_median", float(np.median(values[:, KLD]))),
        score("kld_p99", float(np.quantile(values[:, KLD], 0.99))),
        score("kld_p99_9", float(np.quantile(values[:, KLD], 0.999))),
        score("kld_max", float(values[:, KLD].max())),
        of_mean("same_top_pct", same, times=100),
        of_mean("rms_dp_pct", dp, times=100),
        of_mean("ppl", ppl, delta=delta),
    ]


def _interval(
    window_values: Sequence[Values], ppl: float, reference: float
) -> tuple[float, float] | tuple[None, None]:
    """The 95 % interval of the difference of two perplexities, see
    `qpipe.results.windows.difference`; Nones of too few windows."""
    from qpipe.evaluators.text.distributions import NLL, REFERENCE_NLL
    from qpipe.evaluators.text.statistics import excess
    from qpipe.results.windows import half_width

    tokens = sum(map(len, window_values))
    ours, theirs = (
        excess([values[:, column] for values in window_values]) for column in (NLL, REFERENCE_NLL)
    )
    half = half_width((ppl / tokens * ours).tolist(), (reference / tokens * theirs).tolist())
    delta = ppl - reference
    return (None, None) if half is None else (delta - half, delta + half)


class TransformersKldParams(KldParams, NoKvParams):
    """The same, by transformers."""

    backend: Literal["transformers"] = "transformers"  # type: ignore[assignment]


class TransformersKld(Kld):
    """The same of a checkpoint, plain or quantized, by transformers in the worker's process."""

    version = 5
    Params: ClassVar[ParamsModel] = TransformersKldParams
    backend = Transformers
