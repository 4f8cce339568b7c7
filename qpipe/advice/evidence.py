"""Figures of quality that are known of a format: from own runs, from published tables, or none.

How far a figure transfers is part of it: of the same model it is evidence, of another model an
indication. Nothing is interpolated, and where there is no figure there is none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from qpipe.advice.needs import Metric

Origin = Literal["run", "published"]
Transfer = Literal["same model", "another model"]

# Which figure stands for a format where several are known: what says most about small losses first.
_ORDER: Sequence[Metric] = ("kld", "accuracy", "ppl")
# Weights of the smallest model whose figures say anything of others: toys lose in their own way.
_LEAST_WEIGHTS = 10**8
# How many times larger or smaller a model may be that a figure is carried over from.
_FARTHEST = 16.0

Signature = tuple[Any, ...]


@dataclass(frozen=True)
class QualityEvidence:
    """A figure of a format: ``kld`` in nats, the rise of ``ppl`` as a share, the share of
    ``accuracy`` that is kept, with a standard error where one is known.

    ``group`` is equal for figures that were measured alike, of one model. ``weights`` are those of
    the model that it is of, ``source`` says where it stands, ``calibrated`` if an importance matrix
    took part, ``date`` when it was measured or published.
    """

    metric: Metric
    value: float
    model: str
    origin: Origin
    source: str
    group: str
    stderr: float | None = None
    weights: int | None = None
    calibrated: bool = False
    date: str | None = None
    transfer: Transfer = "another model"

    def record(self) -> dict[str, Any]:
        """Its fields for a JSON answer."""
        fields = asdict(self)
        return {name: fields[name] for name in fields if name not in ("group", "weights")}

    def clearly_better(self, other: QualityEvidence) -> bool:
        """True if it loses less than another figure, measured alike, beyond both errors (95 %)."""
        if self.group != other.group or self.metric != other.metric:
            return False
        gain = other.value - self.value if self.metric != "accuracy" else self.value - other.value
        errors = [e.stderr for e in (self, other) if e.stderr is not None]
        return gain > 0 and gain > 1.96 * math.hypot(*errors) if errors else gain > 0


def signature(quantize: Mapping[str, Any]) -> Signature:
    """Return what two sections ``quantize`` have in common that make the same format."""
    method = str(quantize.get("method") or "none")
    if method == "gguf":
        return method, str(quantize.get("type") or "Q8_0").upper()
    if method == "none":
        return (method,)
    if method in ("gptq", "awq", "rtn", "autoround"):
        bits = quantize.get("bits") or quantize.get("wbits") or quantize.get("w_bit") or 4
        return method, int(bits), int(quantize.get("group_size") or 128)
    if method == "exl2":
        return method, float(quantize.get("bits") or quantize.get("bpw") or 4.0)
    if method == "bnb":
        return method, str(quantize.get("type") or "nf4")
    default = {"int8": "w8a16", "fp8": "dynamic"}.get(method, "")
    return method, str(quantize.get("scheme") or default)


def chosen(
    known: Iterable[QualityEvidence],
    *,
    model: str,
    weights: int,
    calibrated: bool,
    metric: Metric | None = None,
) -> QualityEvidence | None:
    """The figure that says most of a format of ``model`` (as the hub calls it), of one ``metric``
    or any: own runs of the same model first, then what was published of it, then an indication of
    the model nearest in weights. None where nothing is known."""
    fitting = [each for each in known if metric in (None, each.metric)]
    same = [replace(e, transfer="same model") for e in fitting if _is_same(e.model, model)]
    own = [each for each in same if each.origin == "run"]
    for group in (own, same):
        if group:
            return min(group, key=lambda e: (_rank(e, calibrated), -_time(e)))
    others = [e for e in fitting if e.weights and _transfers(e.weights, weights)]
    if not others:
        return None
    return min(others, key=lambda e: (_rank(e, calibrated), _distance(e.weights or 1, weights)))


def _rank(each: QualityEvidence, calibrated: bool) -> tuple[int, bool]:
    return _ORDER.index(each.metric), each.calibrated != calibrated


def _is_same(name: str, model: str) -> bool:
    return name.lower() == model.lower()


def _transfers(theirs: int, ours: int) -> bool:
    return theirs >= _LEAST_WEIGHTS and _distance(theirs, ours) <= math.log(_FARTHEST)


def _distance(theirs: int, ours: int) -> float:
    return abs(math.log(theirs / max(ours, 1)))


def _time(each: QualityEvidence) -> float:
    digits = (each.date or "").replace("-", "")[:8]
    return float(digits.ljust(8, "0")) if digits.isdecimal() else 0.0
