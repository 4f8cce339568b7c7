"""Recipes and parameters held against their shape, with errors that users can act on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from qpipe.errors import RecipeError, nearest
from qpipe.recipe.messages import as_pairs
from qpipe.recipe.schema import Recipe


class FieldSource(Protocol):
    """An account of who set a field of a composed recipe (qpipe/recipe/origins.py)."""

    def origin(self, field: str) -> str:
        """``FILE:LINE`` or the override's text."""

    def raw(self, field: str) -> str | None:
        """The scalar as written, before YAML gave it a type."""


class Composed(Protocol):
    """A composed job, as far as it is needed here (qpipe/recipe/request.py)."""

    @property
    def config(self) -> Mapping[str, Any]: ...  # noqa: D102
    @property
    def aliases(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def used(self) -> frozenset[str]: ...  # noqa: D102
    @property
    def origins(self) -> FieldSource: ...  # noqa: D102


M = TypeVar("M", bound=BaseModel)


def checked(model: type[M], data: object, job: Composed, *, at: str = "") -> M:
    """Validate ``data``, which stands at the dotted field ``at`` of the recipe.

    Raises RecipeError with a line for each wrong field: where it was set, its value, what would be
    right.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        lines = [_line(model, problem, job, at) for problem in error.errors()]
        raise RecipeError("\n".join(lines)) from None


def _line(model: type[BaseModel], problem: Any, job: Composed, at: str) -> str:
    location = [str(part) for part in problem["loc"]]
    dotted = ".".join([part for part in [at] if part] + location)
    field = resolve_alias(dotted, job.aliases)
    where = job.origins.origin(field)
    if problem["type"] == "extra_forbidden":
        return _unknown(model, location, field, where)
    if problem["type"] == "missing":
        return f"{field}: missing; set it in {where} or with {field}=… on the command line"
    raw = job.origins.raw(field)
    shown = f"{problem['input']!r}"
    if problem["type"] == "string_type" and not isinstance(problem["input"], (dict, list)):
        written = raw if raw is not None else str(problem["input"])
        return (
            f"{field} ({where}): {written} is a text that YAML reads as the "
            f"{type(problem['input']).__name__} {shown}; quote it: "
            f'{field.split(".")[-1]}: "{written}"'
            + (f" (on the command line: '{field}=\"{written}\"')" if "override" in where else "")
        )
    if problem["type"] == "value_error":  # one of our own validators: its words say it all
        return f"{field} ({where}): {problem['ctx']['error']}"
    message = problem["msg"][0].lower() + problem["msg"][1:]
    advice = ""
    value = problem["input"]
    if problem["type"] == "dict_type" and str(value).startswith("{"):
        advice = f". Inside quotes {{…}} is a text; {as_pairs(f'{field}={value}')}"
    return f"{field} ({where}): {shown} is not right: {message}{advice}"


def _unknown(model: type[BaseModel], location: list[str], field: str, where: str) -> str:
    fields = _known_fields(model, location[:-1])
    return f"{field} ({where}): unknown field; {nearest(location[-1], fields)}"


def unknown_fields(config: Mapping[str, Any], origins: FieldSource) -> list[str]:
    """A line for each field of a recipe that there is not, as far as it can be said of one whose
    interpolations are not resolved: what to look at first where another field has no value."""
    try:
        Recipe.model_validate({name: part for name, part in config.items() if name != "hydra"})
    except ValidationError as error:
        fields = [p["loc"] for p in error.errors() if p["type"] == "extra_forbidden"]
        named = [[str(part) for part in location] for location in fields]
        return [_unknown(Recipe, n, ".".join(n), origins.origin(".".join(n))) for n in named]
    return []


def resolve_alias(field: str, aliases: Mapping[str, str]) -> str:
    """The field in which a user wrote what stands at ``field`` through interpolation."""
    for _ in range(len(aliases) + 1):
        parts = field.split(".")
        for length in range(len(parts), 0, -1):
            head = ".".join(parts[:length])
            if head in aliases:
                field = ".".join([aliases[head], *parts[length:]])
                break
        else:
            break
    return field


def _known_fields(model: type[BaseModel], path: Iterable[str]) -> list[str]:
    current: Any = model
    for part in path:
        if not (isinstance(current, type) and issubclass(current, BaseModel)):
            return []
        info = current.model_fields.get(part)
        if info is None:
            # A key of a mapping: go on with the mapping's values.
            continue
        current = _model_inside(info.annotation)
    if isinstance(current, type) and issubclass(current, BaseModel):
        return [info.alias or name for name, info in current.model_fields.items()]
    return []


def _model_inside(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if (model := _model_inside(argument)) is not None:
            return model
    return None
