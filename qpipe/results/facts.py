"""The one boundary between results and the facts of a manifest, which are plain JSON.

Facts have been written in this form since the first version: artifacts of any age are read. What
scores declare is kept in ``score_types``, and only where their names do not say the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from qpipe.results import arithmetic, fields
from qpipe.results.measurement import Bucket, Distribution, Measurement, Subject
from qpipe.results.scores import RESERVED, Score

if TYPE_CHECKING:
    from qpipe.results.model import ModelFacts
    from qpipe.results.sampling import Rival, Sampling

TYPES = "score_types"

Facts = Mapping[str, Any]


def to_facts(result: Measurement | ModelFacts | Facts) -> dict[str, Any]:
    """Convert what a stage returned to the facts that its manifest keeps."""
    from qpipe.results.model import ModelFacts

    if isinstance(result, Measurement):
        return of_measurement(result)
    if isinstance(result, ModelFacts):
        return of_model(result)
    return dict(result)


def of_measurement(result: Measurement) -> dict[str, Any]:
    """The facts of a measurement; those on a text begin with its name."""
    about = {
        "text": result.on.text,
        "protocol": result.protocol,
        "tokens": result.on.tokens,
        "tokens_scored": result.on.tokens_scored,
        "tokens_sha256": result.on.tokens_sha256,
        "items": result.on.items,
        "backend": result.by,
        "notes": None if result.notes is None else [*result.notes],
        **_of_sampling(result.sampling),
    }
    about = {name: value for name, value in about.items() if value is not None}
    scores = fields.figures(result.scores)
    facts = {**about, **scores} if "text" in about else {**scores, **about}
    if result.seconds is not None:
        facts |= {"seconds": result.seconds, "tokens_per_second": result.tokens_per_second}
    if result.arithmetic is not None:
        facts["arithmetic"] = arithmetic.to_record(result.arithmetic)
    if result.distribution is not None:
        facts["distribution"] = distribution_record(result.distribution)
    if result.imported is not None:
        facts["imported"] = {**result.imported}
    if _by_key(fields.scores(scores)) != _by_key(result.scores):
        facts[TYPES] = fields.declarations(result.scores)
    return facts


def measurement(facts: Facts) -> Measurement:
    """Read a measurement from the facts of an evaluation's manifest."""
    types = facts.get(TYPES)
    declared = {name: fields.declaration(of) for name, of in types.items()} if types else None
    numbers = {name: v for name, v in facts.items() if name not in RESERVED and _is_number(v)}
    return described(facts, fields.scores(numbers, declared))


def described(facts: Facts, scores: Sequence[Score]) -> Measurement:
    """A measurement of these ``scores``, with all the rest from ``facts``."""
    notes = facts.get("notes")
    return Measurement(
        protocol=facts.get("protocol"),
        scores=tuple(scores),
        on=Subject(**{name: facts.get(name) for name in asdict(Subject())}),
        by=facts.get("backend"),
        sampling=sampling(facts),
        notes=None if notes is None else tuple(notes),
        seconds=facts.get("seconds"),
        tokens_per_second=facts.get("tokens_per_second"),
        distribution=distribution(facts),
        arithmetic=arithmetic.read(facts),
        imported=facts.get("imported"),
    )


def sampling(facts: Facts) -> Sampling | None:
    """Read from facts how much of the data was measured; None if all was."""
    words, interval, by = (facts.get(name) for name in ("sampling", "interval", "dominated_by"))
    if words is None and interval is None and by is None:
        return None
    from qpipe.results.sampling import Rival, Sampling

    return Sampling(words or "", interval and tuple(interval), by and Rival(**by))


def distribution(facts: Facts) -> Distribution | None:
    """Read from facts how a score is spread over tokens, as `distribution_record` writes it."""
    if (record := facts.get("distribution")) is None:
        return None
    buckets = tuple(Bucket(*each) for each in record["by_confidence"])
    return Distribution(record["score"], tuple(record["edges"]), tuple(record["counts"]), buckets)


def distribution_record(spread: Distribution) -> dict[str, Any]:
    """The distribution as JSON, each bucket as low, high, tokens, mean and same_top_pct."""
    return {
        "score": spread.score,
        "edges": [*spread.edges],
        "counts": [*spread.counts],
        "by_confidence": [
            [each.low, each.high, each.tokens, each.mean, each.same_top_pct]
            for each in spread.by_confidence
        ],
    }


def rival(by: Rival) -> dict[str, Any]:
    """The level by which another is dominated, as JSON; fields that are not known are left out."""
    return {name: value for name, value in asdict(by).items() if value is not None}


def of_model(result: ModelFacts) -> dict[str, Any]:
    """The facts of a model."""
    facts = {
        "format": result.format,
        "size_bytes": result.size_bytes,
        "tensor_bytes": result.tensor_bytes,
        "weights": result.weights,
        "bits_per_weight": result.bits_per_weight,
        "architecture": result.architecture,
        "tensors": result.tensors,
        "tensor_types": None if result.tensor_types is None else dict(result.tensor_types),
        "source": result.source,
        "notes": None if result.notes is None else [*result.notes],
    }
    return {n: v for n, v in facts.items() if v is not None} | dict(result.more)


_MODEL = (
    *("format", "size_bytes", "tensor_bytes", "weights", "bits_per_weight", "architecture"),
    *("tensors", "tensor_types", "source", "notes"),
)


def model(facts: Facts) -> ModelFacts:
    """Read a model from the facts of its manifest; ``size_bytes`` is 0 where they do not say it."""
    from qpipe.results.model import ModelFacts

    own: dict[str, Any] = {name: facts.get(name) for name in _MODEL}
    notes = own.pop("notes")
    own["size_bytes"] = own["size_bytes"] or 0
    more = {name: value for name, value in facts.items() if name not in _MODEL}
    return ModelFacts(**own, notes=None if notes is None else tuple(notes), more=more)


def _of_sampling(sample: Sampling | None) -> dict[str, Any]:
    if sample is None:
        return {}
    return {
        "sampling": sample.words,
        "interval": sample.interval and [*sample.interval],
        "dominated_by": sample.dominated_by and rival(sample.dominated_by),
    }


def _by_key(scores: Sequence[Score]) -> dict[str, Score]:
    return {each.key: each for each in scores}


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
