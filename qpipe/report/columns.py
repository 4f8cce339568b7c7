"""From measurements to columns: a field such as ``ppl`` holds one protocol and one set of tokens.

Where rows were measured in two ways, the fields name theirs: ``ppl[llamacpp-512]`` and
``ppl[llamacpp-512 n_ctx=256]``.
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
    "protocol", "seconds", "evaluate_seconds", "status", "run", "key", "artifact", "file",
    "overrides", "notes", "error", "measurements",
)  # fmt: skip


def flatten(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows with their scores as fields, the same fields in each; a missing one is None.

    Idempotent: fields are always made anew from ``measurements``.
    """
    suffixes = _suffixes([m for row in rows for m in row["measurements"]])
    fields: dict[str, None] = {}
    scores = []
    for row in rows:
        own = {}
        for measurement in row["measurements"]:
            suffix = suffixes.get(_way(measurement), {})
            for name, value in measurement["scores"].items():
                own[_labelled(name, suffix.get(name))] = value
        scores.append(own)
        fields.update(dict.fromkeys(own))
    return [
        {
            **{name: row[name] for name in _FRONT},
            **{name: own.get(name) for name in fields},
            "protocol": _protocols(row),
            **{name: row[name] for name in _BACK if name in row and name != "protocol"},
        }
        for row, own in zip(rows, scores, strict=True)
    ]


def score_fields(row: Row) -> list[str]:
    """The names of a flattened row's score fields, in order."""
    return [name for name in row if name not in _FRONT and name not in _BACK]


def _way(measurement: Mapping[str, Any]) -> Way:
    """Equal for what was measured alike: reports of old have no digest of the tokens."""
    return measurement["protocol"], (
        measurement.get("tokens_sha256") or measurement["text_digest"] or measurement["text"]
    )


def _suffixes(measurements: Iterable[Mapping[str, Any]]) -> dict[Way, dict[str, str]]:
    """What each score's name is labelled with, by the way it was measured: none if all agree."""
    ways: dict[str, dict[Way, str | None]] = {}
    for measurement in measurements:
        for name in map(_base, measurement["scores"]):
            ways.setdefault(name, {}).setdefault(_way(measurement), measurement["text"])
    found: dict[Way, dict[str, str]] = {}
    for name, several in ways.items():
        labels = _labels(several) if len(several) > 1 else {}
        for way, label in labels.items():
            of_way = found.setdefault(way, {})
            of_way.update(dict.fromkeys((name, *companions(name)), label))
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


def _labels(texts: Mapping[Way, str | None]) -> dict[Way, str]:
    """The shortest words that tell ways apart: protocol, then text, then the text's digest."""
    short = {way: str(way[0] or "no protocol") for way in texts}
    named = {way: f"{short[way]}, {text}" for way, text in texts.items()}
    exact = {way: f"{named[way]} {str(way[1])[:6]}" for way in texts}
    for labels in (short, named):
        if len(set(labels.values())) == len(texts):
            return labels
    return exact


def _protocols(row: Row) -> str | None:
    found = dict.fromkeys(m["protocol"] for m in row["measurements"] if m["protocol"])
    return "; ".join(found) or None
