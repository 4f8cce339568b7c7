"""The description of a measurement: on what and by what it was made, and its named scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from qpipe.core.key import Json
from qpipe.results import facts
from qpipe.results.fields import figures
from qpipe.results.measurement import Measurement
from qpipe.results.scores import Score, score
from qpipe.results.windows import SCORES, WindowSums
from qpipe.stages.evaluator import write_result

if TYPE_CHECKING:
    from qpipe.evaluators.text.interfaces import Backend, Nll
    from qpipe.evaluators.text.statistics import Mean
    from qpipe.evaluators.text.windows import Tokenized


class MeasuringTool(Protocol):
    """A tool that computes figures: any `interfaces.Backend`, or a program."""

    @property
    def name(self) -> str:
        """Name of the software."""

    @property
    def version(self) -> str:
        """Exact enough to compute the same again."""

    @property
    def n_ctx_train(self) -> int | None:
        """The context that the model was trained for, None if it does not say."""

    @property
    def remarks(self) -> Sequence[str]:
        """Notes that a reader of its figures needs, on how they were computed."""


def scores_of(tokenized: Tokenized, nll: Nll) -> Score:
    """The score of ``nll``, under the name that its unit has, and its standard error."""
    from qpipe.evaluators.text.statistics import bits, perplexity

    unit, units = tokenized.about.unit, tokenized.about.units
    if unit == "byte":
        assert units is not None
        mean = bits(nll, units=units)
    else:
        mean = perplexity(nll, units=units)
    return of_mean(SCORES[unit], mean)


def sums_of(tokenized: Tokenized, nll: Nll) -> WindowSums:
    """The sum of each window's ``nll``, for comparisons with other models on the same windows."""
    import numpy as np

    counts = (tokenized.windows.spans[:, 1] - tokenized.windows.spans[:, 0]).astype(int)
    sums = np.add.reduceat(nll, np.cumsum(counts) - counts)
    what = tokenized.about
    units = what.units if what.units is not None else len(nll)
    return WindowSums(sums.tolist(), counts.tolist(), what.unit, units)


def of_mean(name: str, mean: Mean, *, times: float = 1.0, **more: Any) -> Score:
    """A score that is a mean, with its standard error where more than one value gives one."""
    stderr = None if math.isnan(mean.stderr) else times * mean.stderr
    return score(name, times * mean.value, stderr=stderr, **more)


def about(tokenized: Tokenized, backend: MeasuringTool) -> dict[str, Json]:
    """On what, under which protocol and by what; ``notes`` are warnings to show."""
    by = f"{backend.name} {backend.version}"
    return about_text(tokenized, by=by, notes=_notes(tokenized, backend))


def about_text(tokenized: Tokenized, *, by: str, notes: Sequence[str]) -> dict[str, Json]:
    """On what, under which protocol, and ``by`` what it says."""
    windows, what = tokenized.windows, tokenized.about
    return {
        "text": what.text,
        "protocol": what.protocol,
        "protocol_version": what.protocol_version,
        "tokens": int(windows.tokens.size),
        "tokens_scored": windows.scored,
        "tokens_in_text": windows.text_tokens,
        "tokens_sha256": what.sha256,
        "chunks": len(windows.tokens),
        "chunks_available": windows.available,
        "backend": by,
        "notes": [*notes],
    }


def _notes(tokenized: Tokenized, backend: MeasuringTool) -> list[str]:
    n_ctx, trained = tokenized.about.n_ctx, backend.n_ctx_train
    if trained is None or n_ctx <= trained:
        return [*backend.remarks]
    return [
        *backend.remarks,
        f"windows of {n_ctx} tokens exceed the {trained} that the model was trained for: set "
        f"evaluate.n_ctx={trained}",
    ]


def measurement(
    described: Mapping[str, Json],
    scores: Sequence[Score],
    seconds: float,
    tokens_per_second: float | None,
    *,
    by: Backend | None = None,
) -> Measurement:
    """A measurement ``by`` a backend as `about` and more describe it; ``seconds`` without
    loading."""
    computed = {} if by is None or by.arithmetic is None else {"arithmetic": by.arithmetic}
    measurement = facts.described({**described, **computed}, scores)
    return replace(measurement, seconds=seconds, tokens_per_second=tokens_per_second)


def write_measured(folder: Path, described: Mapping[str, Json], scores: Sequence[Score]) -> None:
    """Write result.json: what `about` and more describe, and the scores."""
    write_result(folder, {**described, **figures(scores)})
