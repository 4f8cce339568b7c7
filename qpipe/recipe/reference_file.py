"""``run.reference`` as a reference file: log-probabilities that were computed elsewhere.

Text, protocol, windows and top_k are then the file's. What the user says of them himself, by an
override or in a recipe of his own, goes along to be compared with what the file has; what recipes
that ship with qpipe say is no more than a default.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from qpipe.errors import RecipeError
from qpipe.recipe.checking import resolve_alias
from qpipe.recipe.request import Job, shipped_recipes
from qpipe.recipe.schema import StageSpec
from qpipe.stages.base import REFERENCE_SUFFIX

_MEASURES, _TOKENS, _FILE = "evaluate", "tokens", "file"
_METRICS = ("logprobs", "perplexity")
_TOY = "builtin:texts/tinystories_lower_heldout.txt"


def is_reference_file(reference: str) -> bool:
    """True if a reference has the name of a reference file, and not of a model or a stage."""
    path = urlsplit(reference).path if "://" in reference else reference
    return path.endswith(REFERENCE_SUFFIX)


def reading_file(
    stages: Mapping[str, StageSpec], job: Job, *, file: str, reference: str, where: str
) -> dict[str, StageSpec]:
    """The stages that read the reference from the stage ``reference``, whose file ``file`` brings,
    changed to do so; and that stage itself.

    Raises RecipeError for a measurement that takes the model itself.
    """
    changed: dict[str, StageSpec] = {}
    wanted: dict[str, Any] = {}
    for name, spec in stages.items():
        role = next((r for r, need in spec.needs.items() if need == reference), None)
        if role is None:
            continue
        raw = spec.with_ or {}
        if spec.uses == _TOKENS:
            settings = _chosen(name, raw, job, ("protocol", "n_ctx", "chunks", "text"))
            text = settings.pop("text", None)
            wanted |= settings
            needs = {**spec.needs, _FILE: file}
            own = {"text": text, "chunks": settings.get("chunks")}
            changed[name] = spec.model_copy(update={"needs": needs, "with_": own})
        elif spec.uses == _MEASURES and role == "model" and raw.get("metric") in _METRICS:
            wanted |= _chosen(name, raw, job, ("top_k",))
            changed[name] = spec.model_copy(update={"with_": {"metric": raw["metric"]}})
        else:
            raise RecipeError(
                f"{where}: a reference file holds log-probabilities on a text, and stage {name!r} "
                f"({raw.get('metric') or spec.uses}) needs the model itself: measure evaluate=kld "
                "or evaluate=perplexity, or give the model as run.reference"
            )
    own_stage = {"uses": "reference", "needs": {"model": file}, "with": wanted, "optional": True}
    return changed | {reference: StageSpec.model_validate(own_stage)}


def _chosen(name: str, raw: Mapping[str, Any], job: Job, fields: tuple[str, ...]) -> dict[str, Any]:
    """The values of a stage's parameters that a user chose, and are not null."""
    return {
        field: raw[field]
        for field in fields
        if raw.get(field) is not None and _is_chosen(f"stages.{name}.with.{field}", raw[field], job)
    }


def _is_chosen(field: str, value: Any, job: Job) -> bool:
    if field.endswith(".text"):
        named = any(each.lstrip("+").startswith("text=") for each in job.overrides)
        return named or value != _TOY
    file = job.origins.origin(resolve_alias(field, job.aliases)).rpartition(":")[0]
    return not (file and Path(file).absolute().is_relative_to(shipped_recipes()))
