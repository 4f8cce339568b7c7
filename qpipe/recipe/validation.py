"""A composed recipe is checked: its shape, and that each of its fields has an effect."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from qpipe.errors import RecipeError, nearest
from qpipe.recipe.checking import Composed, checked
from qpipe.recipe.schema import Recipe


def validate(job: Composed) -> Recipe:
    """The recipe of a composed job. Raises RecipeError listing every wrong field."""
    recipe = checked(Recipe, job.config, job)
    _refuse_unused(job)
    if recipe.model.trust_remote_code and not re.fullmatch(
        r"[0-9a-f]{40}", recipe.model.revision or ""
    ):
        raise RecipeError(
            f"model.trust_remote_code ({job.origins.origin('model.trust_remote_code')}): true lets "
            "the model's repository run code here, so it needs the exact commit that you trust: "
            "set model.revision to its 40-digit SHA, or trust_remote_code to false"
        )
    return _present(recipe)


def _present(recipe: Recipe) -> Recipe:
    """The recipe without stages whose ``when`` says that they are not here."""
    absent = {name for name, spec in recipe.stages.items() if spec.when in (None, False)}
    if not absent:
        return recipe
    stages = {
        name: spec.model_copy(update={"needs": _without(spec.needs, absent)})
        for name, spec in recipe.stages.items()
        if name not in absent
    }
    return recipe.model_copy(update={"stages": stages})


def _without(needs: Mapping[str, str | None], absent: Collection[str]) -> dict[str, str | None]:
    return {role: None if stage in absent else stage for role, stage in needs.items()}


def _refuse_unused(job: Composed) -> None:
    """A field that no stage reads, in a block whose other fields are read, is a typo.

    But a file may set what other stages of that kind read: ``evaluate.text``, say, in a recipe that
    is run with ``evaluate=tasks``. Of the text for calibration every method reads what it needs.
    """
    for field in _leaves(job.config.get("calibration"), "calibration"):
        name = field.split(".")[1]
        if field not in job.used and name not in _settings("calibrate"):
            raise RecipeError(
                f"{field} ({job.origins.origin(field)}): unknown field; "
                + nearest(name, _settings("calibrate"))
            )
    for block in ("quantize", "evaluate"):
        fields_used = {name for name in job.used if name.split(".")[0] == block}
        if not fields_used:
            continue  # `~evaluate`, say: the block's settings wait for stages that are not there
        for field in _leaves(job.config.get(block), block):
            if any(name == field or field.startswith(f"{name}.") for name in job.used):
                continue
            where = job.origins.origin(field)
            if "override" in where or field.split(".")[1] not in _settings(block):
                choices = [name.removeprefix(f"{block}.") for name in fields_used]
                raise RecipeError(
                    f"{field} ({where}): no stage of this recipe reads it; "
                    + nearest(field.removeprefix(f"{block}."), choices)
                )


def _settings(kind: str) -> set[str]:
    """The parameters of all stages of a kind."""
    from qpipe.stages.registry import all_stages

    return {name for stage in all_stages().get(kind, ()) for name in stage.Params.model_fields}


def _leaves(value: Any, at: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, f"{at}.{name}")
    elif "." in at:
        yield at
