"""What a measurement says of itself: how it was made, and its scores under their names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from qpipe.core.key import Json
from qpipe.evaluators.tokenized import Tokenized

if TYPE_CHECKING:
    from qpipe.evaluators.metrics.scores import Nll

# The score of a protocol's unit: perplexity a token or a word, bits a byte.
SCORES = {"token": "ppl", "word": "word_ppl", "byte": "bits_per_byte"}


class Source(Protocol):
    """What computed: any `qpipe.evaluators.metrics.backend.Backend`, or a program."""

    @property
    def name(self) -> str:
        """Of the software."""

    @property
    def version(self) -> str:
        """Exact enough to compute the same again."""

    @property
    def n_ctx_train(self) -> int | None:
        """The context that the model was trained for, None if it does not say."""

    @property
    def remarks(self) -> Sequence[str]:
        """What a reader of its figures has to know of how they were computed."""


def scores_of(tokenized: Tokenized, nll: Nll) -> dict[str, float]:
    """The score of ``nll``, under the name that its unit has, and its standard error."""
    from qpipe.evaluators.metrics.statistics import bits, perplexity

    unit, units = tokenized.about.unit, tokenized.about.units
    if unit == "byte":
        assert units is not None
        found = bits(nll, units=units)
    else:
        found = perplexity(nll, units=units)
    return {SCORES[unit]: found.value, **stderr(SCORES[unit], found.stderr)}


def stderr(name: str, value: float) -> dict[str, float]:
    """The standard error of a score, left out where one value gives none."""
    return {} if math.isnan(value) else {f"{name}_stderr": value}


def about(tokenized: Tokenized, backend: Source) -> dict[str, Json]:
    """On what, under which protocol and by what; ``notes`` are warnings to show."""
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
        "backend": f"{backend.name} {backend.version}",
        "notes": list(_notes(tokenized, backend)),
    }


def _notes(tokenized: Tokenized, backend: Source) -> list[str]:
    n_ctx, trained = tokenized.about.n_ctx, backend.n_ctx_train
    if trained is None or n_ctx <= trained:
        return [*backend.remarks]
    return [
        *backend.remarks,
        f"windows of {n_ctx} tokens exceed the {trained} that the model was trained for: set "
        f"evaluate.n_ctx={trained}",
    ]


# Of what `about` says, what the manifest repeats for reports.
_IN_FACTS = (
    *("text", "protocol", "tokens", "tokens_scored", "tokens_sha256"),
    *("backend", "notes", "sampling", "interval", "dominated_by"),
)


def facts(
    described: Mapping[str, Json],
    scores: Mapping[str, float],
    seconds: float,
    tokens_per_second: float | None,
) -> dict[str, Json]:
    """What goes into the manifest."""
    return {
        **{name: described[name] for name in _IN_FACTS if name in described},
        **scores,
        "seconds": seconds,
        "tokens_per_second": tokens_per_second,
    }
