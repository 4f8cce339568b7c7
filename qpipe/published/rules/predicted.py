"""Sizes that no file of that model and type has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qpipe.errors import CheckpointError, RecipeError
from qpipe.published.rules.survey import Contradiction, Survey, SurveyRow, interval
from qpipe.published.schema import BYTES, PublishedValue
from qpipe.sizes import PredictedSize, predict, shapes

_BUILTIN = "builtin:"
_DATA = Path(__file__).parents[2] / "data"
_MARGIN = 0.005  # vocabularies and headers differ a little by version of the converter


def size_against_prediction(survey: Survey) -> Iterator[Contradiction]:
    """A size of a GGUF type that is more than half a percent and rounding off what its tensors
    take, with an importance matrix and without: some mixtures differ in it.

    Of models whose shapes are known or at hand, and of values that are comparable.
    """
    for row in survey.rows:
        for metric in survey.metrics("size", "bpw"):
            value = row.values.get(metric)
            if value is None or value.not_comparable:
                continue
            sizes = [_in_its_unit(value, each) for each in _predicted(row, survey.folder)]
            if sizes and not any(_meets(value, each) for each in sizes):
                nearest = min(sizes, key=lambda size: abs(size - float(value.printed.value)))
                unit = f" {value.metric.unit}" if value.metric.unit else ""
                words = (
                    f"{value.printed.value}{unit}: {row.row.format} of this model has "
                    f"{nearest:.4g}{unit}"
                )
                yield Contradiction("size_against_prediction", row, metric, words)


def _meets(value: PublishedValue, predicted: float) -> bool:
    low, high = interval(value)
    return low <= predicted * (1 + _MARGIN) and predicted * (1 - _MARGIN) <= high


def _in_its_unit(value: PublishedValue, size: PredictedSize) -> float:
    if value.score == "bpw":
        return size.bits_per_weight
    counted = size.tensor_bytes if value.metric.counts == "tensors" else size.file_bytes
    return counted / BYTES[value.metric.unit or "B"]


def _predicted(row: SurveyRow, folder: Path) -> list[PredictedSize]:
    """Predictions of a row's size; none where its model or its format is not known, or the format
    is a variant of one."""
    config, kind = _config(row, folder), row.format.type
    if config is None or kind is None or row.format.rest not in ("", "GGUF"):
        return []
    asked: list[dict[str, Any]] = [
        {"method": "none", "via": kind.lower()},
        {"method": "gguf", "type": kind},
        {"method": "gguf", "type": kind, "imatrix": True},
    ]
    try:
        return [predict(config, each) for each in (asked[:1] if row.format.base else asked[1:])]
    except (CheckpointError, RecipeError):
        return []


def _config(row: SurveyRow, folder: Path) -> Any:
    """The config.json that the row names, or that of a model that ships or is a folder, or the
    shapes of a known model."""
    if row.row.config is not None:
        return folder / row.row.config
    model = row.row.model or ""
    if model.startswith(_BUILTIN):
        return _DATA / model.removeprefix(_BUILTIN)
    return folder / model if (folder / model / "config.json").is_file() else shapes(model)
