"""Scores as fields of plain data: ``ppl``, ``ppl_stderr``, ``ppl_delta``, ``acc[task]``, …

The facts of a manifest, run.json and CSV have them so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from qpipe.results.scores import Declaration, Difference, Score, score

# What stands beside a score: its standard error, its interval, its interquartile range over rounds,
# its ratio to the reference, and the reference's own in the same rounds.
_BESIDE = ("_stderr", "_low", "_high", "_iqr", "_ratio", "_base")
# Its difference to the reference, and of that the standard error, the interval and the probability
# under no difference.
_DELTA = {
    "_delta": "value",
    "_delta_stderr": "stderr",
    "_delta_low": "low",
    "_delta_high": "high",
    "_delta_p": "p",
}
_DECLARED = tuple(field.name for field in fields(Declaration))
ENDINGS = (*_BESIDE, *_DELTA)
# Of scores that do not declare themselves, what ends so has always been a score of its own.
_DECLARED_ONLY = ("_low", "_high")
_ENDINGS = tuple(part for part in ENDINGS if part not in _DECLARED_ONLY)


def figures(
    scores: Sequence[Score], *, compared: bool = False, labels: Mapping[str, str] | None = None
) -> dict[str, float | None]:
    """The fields of a measurement's scores: their own figures, then differences to the reference's.

    With ``compared`` a score that declares so has a field for its difference even where there is
    no reference: None. ``labels``, by `Score.key`, tell what was measured in several ways.
    """
    values: dict[str, float | None] = {}
    wheres = [_where(each, labels) for each in scores]
    tasks: list[tuple[Score, str, dict[str, float]]] = []
    for each, where in zip(scores, wheres, strict=True):
        beside = _beside(each)
        if each.where:
            tasks.append((each, where, beside))
        else:
            values.update({f"{each.name}{part}{where}": value for part, value in beside.items()})
    # Of tasks all values stand first, then all standard errors.
    for part in ("", *_BESIDE) if tasks else ():
        for each, where, beside in tasks:
            if part in beside:
                values[f"{each.name}{part}{where}"] = beside[part]
    for each, where in zip(scores, wheres, strict=True):
        if each.delta is not None:
            parts = {part: getattr(each.delta, of) for part, of in _DELTA.items()}
            values.update({f"{each.name}{p}{where}": v for p, v in parts.items() if v is not None})
        elif compared and each.compared:
            values[f"{each.name}_delta{where}"] = None
    return values


def scores(
    flat: Mapping[str, Any], declared: Mapping[str, Declaration] | None = None
) -> tuple[Score, ...]:
    """Read scores from ``flat``, which has their `figures`, as ``declared`` by their names.

    Without declarations each is as `standard` has it, and a field that is named after another with
    an ending such as ``_stderr`` belongs to that one.
    """
    if declared:
        own = [key for key in flat if split(key)[0] in declared]
    else:
        own = [key for key in flat if not _belongs(key, flat)]
    return tuple(merged(key, flat, declared or {}) for key in own if flat[key] is not None)


def split(key: str) -> tuple[str, str]:
    """Split a key into name and task, which may be empty: ``acc[mmlu]`` → ``acc`` and ``mmlu``."""
    name, bracket, where = key.partition("[")
    return (name, where[:-1]) if bracket and where.endswith("]") else (key, "")


def declarations(scores: Sequence[Score]) -> dict[str, dict[str, Any]]:
    """The declarations of scores, by name and as JSON."""
    return {each.name: {name: getattr(each, name) for name in _DECLARED} for each in scores}


def declaration(record: Mapping[str, Any]) -> Declaration:
    """Read a declaration from JSON; fields of other versions are passed over.

    Raises ValueError and TypeError.
    """
    return Declaration(**{name: record[name] for name in _DECLARED if name in record})


def labelled(each: Score, labels: Mapping[str, str]) -> Score:
    """The score with the label of its way of measuring, if it has one, in its key."""
    if (label := labels.get(each.key)) is None:
        return each
    return replace(each, where=", ".join(filter(None, (each.where, label))))


def _where(each: Score, labels: Mapping[str, str] | None) -> str:
    """The task and label of a score in brackets, as they stand behind its name."""
    where = labelled(each, labels).where if labels else each.where
    return f"[{where}]" if where else ""


def _beside(each: Score) -> dict[str, float]:
    """A score's own figures by the endings of their names; those that it lacks are left out."""
    low, high = each.interval or (None, None)
    values = (each.value, each.stderr, low, high, each.iqr, each.ratio, each.base)
    return {p: v for p, v in zip(("", *_BESIDE), values, strict=True) if v is not None}


def _belongs(key: str, flat: Mapping[str, Any]) -> bool:
    """Return whether a field belongs to a score, as ``ppl_stderr`` to ``ppl``."""
    name, where = split(key)
    if not name.endswith(_ENDINGS):
        return False
    bases = [name.removesuffix(part) for part in _ENDINGS if name.endswith(part)]
    return any(base and _key(base, where) in flat for base in bases)


def _key(name: str, where: str) -> str:
    return f"{name}[{where}]" if where else name


def merged(key: str, flat: Mapping[str, Any], declared: Mapping[str, Declaration]) -> Score:
    """The score of that key, with all figures that stand beside it in ``flat``."""
    name, where = split(key)
    behind = key[len(name) :]

    def beside(part: str) -> Any:
        return None if name + part in declared else flat.get(f"{name}{part}{behind}")

    low, high = (beside(part) if name in declared else None for part in _DECLARED_ONLY)
    delta = None
    if (value := beside("_delta")) is not None:
        delta = Difference(value, *map(beside, list(_DELTA)[1:]))
    return score(
        name,
        flat[key],
        of=declared.get(name),
        where=where,
        stderr=beside("_stderr"),
        interval=None if low is None or high is None else (low, high),
        iqr=beside("_iqr"),
        ratio=beside("_ratio"),
        base=beside("_base"),
        delta=delta,
    )
