"""Scores as fields of plain data: ``ppl``, ``ppl_stderr``, ``ppl_delta``, ``acc[task]``, …

The facts of a manifest, run.json and CSV have them so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from qpipe.results.scores import Declaration, Difference, Score, score

# What stands beside a score: its standard error, its interval, its interquartile range over rounds
# and its ratio to the reference.
_BESIDE = ("_stderr", "_low", "_high", "_iqr", "_ratio")
# Its difference to the reference, and of that the standard error, the interval and the probability
# under no difference.
_DELTA = {
    "_delta": "value",
    "_delta_stderr": "stderr",
    "_delta_low": "low",
    "_delta_high": "high",
    "_delta_p": "p",
}
# Of scores that do not declare themselves, what ends so has always been a score of its own.
_DECLARED_ONLY = ("_low", "_high")


def figures(
    scores: Sequence[Score], *, compared: bool = False, labels: Mapping[str, str] | None = None
) -> dict[str, float | None]:
    """The fields of a measurement's scores: their own figures, then those beside the reference's.

    With ``compared`` a score that declares so has a field for its difference even where there is
    no reference: None. ``labels``, by `Score.key`, tell what was measured in several ways.
    """
    found: dict[str, float | None] = {}
    ways = labels or {}
    tasks = [each for each in scores if each.where]
    # Of tasks all values stand first, then all standard errors.
    for group in (*([each] for each in scores if not each.where), tasks):
        for part in ("", *_BESIDE):
            named = {_named(each, part, ways): _beside(each, part) for each in group}
            found |= {name: value for name, value in named.items() if value is not None}
    for each in scores:
        for part, of in _DELTA.items():
            value = getattr(each.delta, of, None)
            if value is not None or (part == "_delta" and compared and each.compared):
                found[_named(each, part, ways)] = value
    return found


def scores(
    flat: Mapping[str, Any], declared: Mapping[str, Declaration] | None = None
) -> tuple[Score, ...]:
    """The scores whose `figures` are ``flat``, each as ``declared`` by its name, or as `standard`.

    A field that is named after another with an ending such as ``_stderr`` belongs to that one,
    unless it is itself declared.
    """
    known = declared or {}
    own = [key for key in flat if split(key)[0] in known or not _belongs(key, flat, known)]
    return tuple(_score(key, flat, known) for key in own if flat[key] is not None)


def split(key: str) -> tuple[str, str]:
    """Name and task: ``acc[mmlu]`` → ``acc`` and ``mmlu``; without a task that is empty."""
    name, bracket, where = key.partition("[")
    return (name, where[:-1]) if bracket and where.endswith("]") else (key, "")


def declarations(scores: Sequence[Score]) -> dict[str, dict[str, Any]]:
    """What the scores declare, by name and as JSON."""
    return {each.name: asdict(each.declaration) for each in scores}


def declaration(record: Mapping[str, Any]) -> Declaration:
    """From JSON; what another version declares is passed over. Raises ValueError and TypeError."""
    known = {field.name for field in fields(Declaration)}
    return Declaration(**{name: value for name, value in record.items() if name in known})


def _named(each: Score, part: str, labels: Mapping[str, str]) -> str:
    where = ", ".join(filter(None, [each.where, labels.get(each.key)]))
    return _key(each.name + part, where)


def _beside(each: Score, part: str) -> float | None:
    low, high = each.interval or (None, None)
    values = (each.value, each.stderr, low, high, each.iqr, each.ratio)
    return dict(zip(("", *_BESIDE), values, strict=True))[part]


def _belongs(key: str, flat: Mapping[str, Any], declared: Mapping[str, Declaration]) -> bool:
    """Whether a field stands beside a score."""
    name, where = split(key)
    bases = {part: name.removesuffix(part) for part in (*_BESIDE, *_DELTA) if name.endswith(part)}
    return any(
        base and _key(base, where) in flat and (part not in _DECLARED_ONLY or base in declared)
        for part, base in bases.items()
    )


def _key(name: str, where: str) -> str:
    return f"{name}[{where}]" if where else name


def _score(key: str, flat: Mapping[str, Any], declared: Mapping[str, Declaration]) -> Score:
    name, where = split(key)

    def beside(part: str) -> Any:
        field = _key(name + part, where)
        return None if name + part in declared else flat.get(field)

    low, high = (beside(part) if name in declared else None for part in _DECLARED_ONLY)
    delta = {of: beside(part) for part, of in _DELTA.items()}
    return score(
        name,
        flat[key],
        of=declared.get(name),
        where=where,
        stderr=beside("_stderr"),
        interval=None if low is None or high is None else (low, high),
        iqr=beside("_iqr"),
        ratio=beside("_ratio"),
        delta=None if delta["value"] is None else Difference(**delta),
    )
