"""Sizes of published rows, predicted from config.json and the format: no weights, no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from qpipe.errors import CheckpointError, RecipeError
from qpipe.published.figures import BPW, NotThereError, Ours, in_unit
from qpipe.published.selection import TableValue
from qpipe.recipe.request import shipped_recipes
from qpipe.results.scores import BYTES
from qpipe.session.reproducing.quantize_fields import NotSimpleError, fields
from qpipe.sizes import PredictedSize, predict, shapes
from qpipe.support.files import expanded, is_file, is_folder

_BUILTIN = "builtin:"
_DATA = Path(__file__).parents[2] / "data"
# Of bytes of a vocabulary that are known from other files with it, and of its template and names.
_SHARE, _NAMES = 0.01, 16 << 10
# Of the fields qpipe.* in a file that qpipe made, which others' have not.
_PROVENANCE = 512.0


def predicted(each: TableValue) -> Ours:
    """Our figure for a published size. Raises NotThereError where it cannot be foretold."""
    value = each.value
    size = _size(each)
    if value.score == BPW:
        return Ours(size.bits_per_weight, predicted=True, notes=size.notes)
    tensors = value.metric.counts == "tensors"
    ours = Ours(
        float(size.tensor_bytes if tensors else size.file_bytes), predicted=True, notes=size.notes
    )
    if not tensors:
        uncertain, why = _uncertain(size)
        ours = replace(ours, uncertain=uncertain, uncertain_why=why)
    return in_unit(ours, BYTES, value.metric.unit)


def _size(each: TableValue) -> PredictedSize:
    config, wanted = _config(each), {**_fields(each), **_matrix(each)}
    try:
        return predict(config, wanted)
    except (CheckpointError, RecipeError) as error:
        raise NotThereError(f"its size is not predicted: {error}") from None


def _uncertain(size: PredictedSize) -> tuple[float, str]:
    """The bytes that the prediction of a file leaves open, and what they are."""
    beside = size.file_bytes - size.tensor_bytes
    note = next((note for note in size.notes if note.startswith("vocabulary")), None)
    if note is None:
        return _PROVENANCE, "what a file says of its making"
    if note.startswith("vocabulary: about"):
        return beside / 2, f"half of what stands beside the tensors: {note}"
    return _SHARE * beside + _NAMES, f"names, templates and the like: {note}"


def _config(each: TableValue) -> Path | Mapping[str, Any]:
    """config.json of a row's model, or the shapes that are known of it."""
    row, folder = each.value.row, each.file.path.parent
    if row.config is not None:
        place = folder / expanded(row.config)
        if is_file(place) or is_folder(place):
            return place
        raise NotThereError(f"config: {row.config} is not there, seen from {folder}")
    name = row.model or ""
    if name.startswith(_BUILTIN):
        place = _DATA / name.removeprefix(_BUILTIN)
    else:
        place = folder / expanded(name)
    if is_folder(place):
        return place
    known = shapes(name)
    if known is None and name.startswith((".", "/", "~", _BUILTIN)):
        raise NotThereError(f"model: {name} is not there, seen from the table's folder")
    if known is None:
        raise NotThereError(
            f"the shapes of {name} are not known: give its config.json as `config:` in the row or "
            "in shared"
        )
    return known


def _fields(each: TableValue) -> Mapping[str, Any]:
    """The fields of ``quantize`` that the row's recipe and overrides come to."""
    value = each.value
    if value.recipe is None and not value.overrides:
        raise NotThereError(
            "its format is not told: name a `recipe`, with quantize=METHOD or quantize.type=NAME "
            "in overrides"
        )
    recipe = value.recipe or "local"
    try:
        if not (shipped_recipes() / f"{recipe}.yaml").is_file():
            raise NotSimpleError(recipe)
        return fields(recipe, value.overrides)
    except NotSimpleError:
        return _composed(each)


def _matrix(each: TableValue) -> Mapping[str, Any]:
    """The field that says that there is an importance matrix, which the group of that name makes
    for the stage and not for the section: some mixtures have other types with one."""
    chosen = [o.partition("=")[2] for o in each.value.overrides if o.startswith("imatrix=")]
    return {"imatrix": True} if chosen and chosen[-1] not in ("none", "null") else {}


def _composed(each: TableValue) -> Mapping[str, Any]:
    """The same by composing the recipe. Raises RecipeError with the row of one that is wrong."""
    from qpipe.recipe import load
    from qpipe.recipe.request import InvalidJob
    from qpipe.session.reproducing.table_job import job_of

    job = job_of(each)
    if job is None:
        raise NotThereError("its format is not told: name a `recipe`")
    place = f"{each.place}: row {each.value.number} ({each.value.row.format}), {each.value.name}"
    try:
        (composed,) = load.compose_each(job.recipe, [job.overrides])
    except RecipeError as error:
        raise RecipeError(f"{place}: {error}") from None
    if isinstance(composed, InvalidJob):
        raise RecipeError(f"{place}: {composed.error}")
    section = composed.config.get("quantize")
    return section if isinstance(section, Mapping) else {}
