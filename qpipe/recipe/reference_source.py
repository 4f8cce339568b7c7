"""``run.reference`` as a model of its own, `OWNER/NAME@REVISION`, a folder or a GGUF file, or as a
reference file of such: what a model that was quantized elsewhere is compared with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from qpipe.core.graph import order
from qpipe.errors import RecipeError, nearest
from qpipe.recipe import reference_file
from qpipe.recipe.originals import DOWNLOAD
from qpipe.recipe.request import Job
from qpipe.recipe.schema import Recipe, StageSpec
from qpipe.recipe.stage_drafts import ChosenStage, StageBounds, inputs_of, stage_drafts
from qpipe.sources.hub_source import names_gguf
from qpipe.stages.base import GGUF, REFERENCE_SUFFIX

REFERENCE, TOKENIZER = "original", "same_tokens"
"""The stages that such a reference brings, beside `DOWNLOAD`: what is measured of it, and the text
by the tokenizer of each model that is compared with it."""

_MEASURES, _TOKENS, _QUANTIZED = "evaluate", "tokens", "quantize"
_AT_A_REVISION = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)@([^/@:]+(?:/[^/@:]+)*)")


def with_reference(recipe: Recipe, job: Job, bounds: StageBounds) -> Recipe:
    """The recipe with stages for a ``run.reference`` that is a model; as it is for all others.

    Raises RecipeError for a reference that is neither a stage nor a model, and for a GGUF file
    beside a checkpoint.
    """
    reference = recipe.run.reference
    if reference is None or reference in recipe.stages:
        return recipe
    where = f"run.reference ({job.origins.origin('run.reference')})"
    if not is_model(reference):
        raise RecipeError(
            f"{where}: {reference!r} is no stage of this recipe, and no model either (OWNER/NAME, "
            f"./FOLDER, ./FILE.gguf, or FILE{REFERENCE_SUFFIX} of `qpipe reference export`); "
            f"{nearest(reference, recipe.stages)}"
        )
    if clash := sorted({DOWNLOAD, REFERENCE, TOKENIZER} & {*recipe.stages}):
        raise RecipeError(f"{where}: a model brings the stage {clash[0]!r}; call yours otherwise")
    stages = {
        name: spec.model_copy(update={"needs": _renamed(spec.needs, reference)})
        for name, spec in recipe.stages.items()
    }
    quantized_as = format_of(_QUANTIZED, stages, job, bounds)
    if reference_file.is_reference_file(reference):
        stages |= reference_file.reading_file(
            stages, job, file=DOWNLOAD, reference=REFERENCE, where=where
        )
        stages[DOWNLOAD] = _download(reference)
        stages |= _compared(stages, quantized_as, given={})
        return _referring(recipe, stages)
    if names_gguf(reference) and quantized_as != GGUF:
        raise RecipeError(
            f"{where}: {reference} is a GGUF file, and what is measured beside it a checkpoint, "
            "which other code computes, so that a difference would be of both; give the "
            "checkpoint that it was made of"
        )
    stages |= _fetched(reference, recipe, quantized_as)
    stages |= _compared(stages, quantized_as)
    return _referring(recipe, stages)


def _referring(recipe: Recipe, stages: Mapping[str, StageSpec]) -> Recipe:
    run = recipe.run.model_copy(update={"reference": REFERENCE})
    return recipe.model_copy(update={"stages": stages, "run": run})


def source_of(model: str, stages: Mapping[str, StageSpec]) -> str:
    """The stage that brings the files of a model, its tokenizer among them: all levels have that
    one, and the text is tokenized once."""
    needs = stages[model].needs
    above = next((name for role in ("model", "checkpoint") if (name := needs.get(role))), None)
    return model if above is None else source_of(above, stages)


def is_model(reference: str) -> bool:
    """True if a text has the form of a model and not of a stage's name."""
    known = reference.startswith(("builtin:", "hf:", "~", "."))
    return known or "/" in reference or reference.endswith((".gguf", REFERENCE_SUFFIX))


def _renamed(needs: Mapping[str, str | None], reference: str) -> dict[str, str | None]:
    return {role: REFERENCE if name == reference else name for role, name in needs.items()}


def _fetched(reference: str, recipe: Recipe, quantized_as: str | None) -> dict[str, StageSpec]:
    """The stages that bring the reference, in the container of what is compared with it."""
    as_it_is = {"to": "checkpoint", "engine": "cast", "dtype": "source"}
    as_gguf = {
        "to": "gguf",
        "engine": recipe.model.converter,
        "outtype": "f16",
        "pretokenizer": recipe.model.pretokenizer,
    }
    parameters: dict[str, Any] = as_gguf if quantized_as == GGUF else as_it_is
    return {
        DOWNLOAD: _download(reference, allow_pickle=recipe.run.allow_pickle),
        REFERENCE: StageSpec.model_validate(
            {
                "uses": "convert",
                "needs": {"checkpoint": DOWNLOAD},
                "with": parameters,
                "optional": True,
            }
        ),
    }


def _download(reference: str, *, allow_pickle: bool = False) -> StageSpec:
    at = _AT_A_REVISION.fullmatch(reference)
    source, revision = (reference, None) if at is None else at.groups()
    parameters = {"source": source, "revision": revision, "allow_pickle": allow_pickle}
    return StageSpec.model_validate({"uses": "download", "with": parameters, "optional": True})


def _compared(
    stages: Mapping[str, StageSpec],
    quantized_as: str | None,
    *,
    given: Mapping[str, Any] | None = None,
) -> dict[str, StageSpec]:
    """The measurements of other models on the reference's tokens, each with the text by that
    model's own tokenizer, which must give the same; ``given`` is what that stage is told, None: the
    same as the reference's."""
    changed: dict[str, StageSpec] = {}
    names: dict[str, str] = {}
    for name, spec in stages.items():
        model, tokens = spec.needs.get("model"), spec.needs.get("tokens")
        if spec.uses != _MEASURES or tokens is None or model in (None, REFERENCE):
            continue
        made = stages[tokens]
        if made.uses == _TOKENS and made.needs.get("model") == REFERENCE:
            own = str(model) if quantized_as == GGUF else source_of(str(model), stages)
            checked = names.setdefault(own, f"{TOKENIZER}_{own}" if names else TOKENIZER)
            needs: dict[str, str | None] = {"model": own, "reference": tokens}
            told = made.with_ if given is None else {**given}
            changed[checked] = made.model_copy(update={"needs": needs, "with_": told})
            changed[name] = spec.model_copy(update={"needs": {**spec.needs, "tokens": checked}})
    return changed


def format_of(
    name: str, stages: Mapping[str, StageSpec], job: Job, bounds: StageBounds
) -> str | None:
    """The format of the model that a stage makes, by that stage and those before it. Raises
    RecipeError for one that is wrong."""
    above: dict[str, StageSpec] = {}
    pending = [name] if name in stages else []
    while pending:
        one = pending.pop()
        above[one] = stages[one]
        pending += [need for need in inputs_of(stages[one]).values() if need in stages]
    chosen: dict[str, ChosenStage] = {}
    for each in order({one: inputs_of(spec).values() for one, spec in above.items()}):
        stage_drafts(each, above[each], job, chosen, bounds)
    return chosen[name].format if name in chosen else None
