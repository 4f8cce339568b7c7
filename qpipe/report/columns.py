"""From measurements to columns: a field such as ``ppl`` holds one protocol and one set of tokens.

Where rows were measured in two ways, the fields name theirs: ``ppl[llamacpp-512]`` and
``ppl[llamacpp-512 n_ctx=256]``. What computed is part of the way only where one model was measured
by two backends: ``ppl[llama.cpp]`` and ``ppl[transformers]``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# What stands beside a score: its standard error, its difference to the reference, of that the
# standard error, the interval and the probability under no difference; its interquartile range over
# rounds, and its ratio to the reference.
COMPANIONS = (
    *("_stderr", "_delta", "_delta_stderr", "_delta_low", "_delta_high", "_delta_p"),
    *("_iqr", "_ratio"),
)

Row = Mapping[str, Any]
Way = tuple[Any, ...]

# Fields that stand in front of the scores, and behind them.
_FRONT = ("name", "format", "reference", "size_bytes", "bits_per_weight", "weights")
_BACK = (
    "dominated_by", "cut_short", "protocol", "seconds", "evaluate_seconds", "status", "run", "key",
    "artifact", "file", "overrides", "notes", "error", "measurements",
)  # fmt: skip

FIELDS = frozenset({*_FRONT, *_BACK})
"""All of them: no score may be called so."""

# Those of them that are made of the measurements.
_MADE = ("dominated_by", "cut_short", "protocol")


def flatten(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows with their scores as fields, the same fields in each; a missing one is None.

    ``dominated_by`` names the row for whose sake a measurement ended early, and ``cut_short`` the
    fields that are of it. Idempotent: fields are always made anew from ``measurements``.
    """
    suffixes = _suffixes(rows)
    fields: dict[str, None] = {}
    scores, short = [], []
    for row in rows:
        own, cut = {}, []
        for measurement in row["measurements"]:
            suffix = suffixes.get(_way(measurement), {})
            for name, value in measurement["scores"].items():
                own[field := _labelled(name, suffix.get(name))] = value
                cut += [field] if measurement.get("dominated_by") else []
        scores.append(own)
        short.append(cut)
        fields.update(dict.fromkeys(own))
    return [
        {
            **{name: row[name] for name in _FRONT},
            **{name: own.get(name) for name in fields},
            "dominated_by": _rival(row),
            "cut_short": cut,
            "protocol": _protocols(row),
            **{name: row[name] for name in _BACK if name in row and name not in _MADE},
        }
        for row, own, cut in zip(rows, scores, short, strict=True)
    ]


def score_fields(row: Row) -> list[str]:
    """The names of a flattened row's score fields, in order."""
    return [name for name in row if name not in _FRONT and name not in _BACK]


def _way(measurement: Mapping[str, Any]) -> Way:
    """Equal for what was measured alike: reports of old have no digest of the tokens."""
    return (
        measurement["protocol"],
        measurement.get("tokens_sha256") or measurement["text_digest"] or measurement["text"],
        measurement.get("backend"),
    )


def _suffixes(rows: Sequence[Row]) -> dict[Way, dict[str, str]]:
    """What each score's name is labelled with, by the way it was measured: none if all agree."""
    ways: dict[str, dict[Way, str | None]] = {}
    for measurement in (m for row in rows for m in row["measurements"]):
        for name in map(_base, measurement["scores"]):
            ways.setdefault(name, {}).setdefault(_way(measurement), measurement["text"])
    found: dict[Way, dict[str, str]] = {}
    twice = _by_several_backends(rows)
    for name, several in ways.items():
        for way, label in _labels(several, backends=name in twice).items():
            of_way = found.setdefault(way, {})
            of_way.update(dict.fromkeys((name, *companions(name)), label))
    return found


def _by_several_backends(rows: Sequence[Row]) -> set[str]:
    """The scores that some model has twice, under one protocol and on the same tokens."""
    found = set()
    for row in rows:
        by: dict[tuple[Any, ...], set[Any]] = {}
        for measurement in row["measurements"]:
            *how, backend = _way(measurement)
            for name in map(_base, measurement["scores"]):
                by.setdefault((name, *how), set()).add(backend)
        found |= {name for (name, *_), backends in by.items() if len(backends) > 1}
    return found


def _labelled(name: str, label: str | None) -> str:
    """``ppl`` → ``ppl[label]``, ``acc[task]`` → ``acc[task, label]``."""
    if label is None:
        return name
    return f"{name[:-1]}, {label}]" if name.endswith("]") else f"{name}[{label}]"


def _base(field: str) -> str:
    """The score that a field belongs to, itself or as a companion."""
    base, bracket, where = field.partition("[")
    for companion in COMPANIONS:
        base = base.removesuffix(companion)
    return base + bracket + where


def companions(name: str) -> tuple[str, ...]:
    """The names of a score's companions: ``acc[task]`` → ``acc_stderr[task]``, …"""
    base, bracket, where = name.partition("[")
    return tuple(base + companion + bracket + where for companion in COMPANIONS)


def _labels(texts: Mapping[Way, str | None], *, backends: bool) -> dict[Way, str]:
    """The shortest words that tell ways apart: protocol, then text, then the text's digest; and
    with ``backends`` what computed. Nothing, if they are one."""
    how = dict.fromkeys(way[:2] for way in texts)
    words = {} if len(how) == 1 else _words({way[:2]: text for way, text in texts.items()})
    by = _backends([way[2] for way in texts]) if backends else {}
    labels = {way: ", ".join(filter(None, [words.get(way[:2]), by.get(way[2])])) for way in texts}
    return {way: label for way, label in labels.items() if label}


def _words(texts: Mapping[Way, str | None]) -> dict[Way, str]:
    short = {way: str(way[0] or "no protocol") for way in texts}
    named = {way: f"{short[way]}, {text}" for way, text in texts.items()}
    exact = {way: f"{named[way]} {str(way[1])[:6]}" for way in texts}
    for labels in (short, named):
        if len(set(labels.values())) == len(texts):
            return labels
    return exact


def _backends(names: Iterable[str | None]) -> dict[str | None, str]:
    """What to call each: without its version, where that tells them apart."""
    whole = {name: str(name or "unknown backend") for name in names}
    short = {name: words.split(" ")[0] for name, words in whole.items()}
    return short if len(set(short.values())) == len(short) else whole


def _rival(row: Row) -> str | None:
    found = (m["dominated_by"]["name"] for m in row["measurements"] if m.get("dominated_by"))
    return next(found, None)


def _protocols(row: Row) -> str | None:
    found = dict.fromkeys(m["protocol"] for m in row["measurements"] if m["protocol"])
    return "; ".join(found) or None
