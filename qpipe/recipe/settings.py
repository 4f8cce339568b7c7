"""The settings of a recipe as users look them up: name, values, default and words.

Names and defaults are those of the shipped groups under recipes/, values and words those of the
params models that read them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeAlias

import yaml
from pydantic import BaseModel
from pydantic.errors import PydanticInvalidForJsonSchema

from qpipe.errors import UsageError, nearest
from qpipe.recipe import schema
from qpipe.recipe.guide import GuideSpec
from qpipe.recipe.request import shipped_recipes
from qpipe.stages.base import description
from qpipe.stages.registry import AUTO, all_stages, chosen

# Settings that choose a stage class: each class has one value, and all of them together are theirs.
_CHOOSERS = ("method", "metric", "engine", "backend")
_Model: TypeAlias = type[BaseModel]

# Of these a group has one value, which its name says.
_FIXED = ("method", "metric")
# Groups that choose a text.
_TEXTS = ("text", "calibration")
_SPECS: Mapping[str, tuple[str, _Model]] = {
    "recipe": ("A recipe.", schema.Recipe),
    "model": ("Which model.", schema.ModelSpec),
    "run": ("How the whole is run and compared.", schema.RunSpec),
    "executor": ("Where stages run.", schema.ExecutorSpec),
    "hydra.sweeper": ("A guided sweep: hydra/sweeper=qpipe_pareto.", GuideSpec),
    "stages.NAME": ("A stage of your own.", schema.StageSpec),
    "stages.NAME.resources": ("What a stage occupies.", schema.ResourcesSpec),
}


@dataclass(frozen=True)
class Setting:
    """One setting. ``default`` is as YAML has it, empty for one that has to be given."""

    name: str
    values: str
    default: str
    about: str


@dataclass(frozen=True)
class Group:
    """Settings that belong together: a block of a recipe, or a choice such as quantize=gptq."""

    name: str
    about: str
    settings: tuple[Setting, ...]


def groups() -> list[Group]:
    """All settings, in the order of the reference."""
    return [
        *_blocks(),
        *(group for kind in ("quantize", "evaluate") for group in _choices(kind)),
        *_stages(),
    ]


def _blocks() -> Iterator[Group]:
    base = _read(shipped_recipes() / "config.yaml")
    for name, (about, model) in _SPECS.items():
        at = "" if name == "recipe" else f"{name}."
        yield Group(name, about, tuple(_own(model, at)))
        if name == "model":
            models = [stage.Params for stage in all_stages()["calibrate"]]
            settings = _of_block("calibration", base["calibration"], {}, models)
            yield Group("calibration", "What methods that look at a text are given.", settings)


# Settings of groups whose methods do not have them, so that a sweep over methods may name them.
_NULL_ALONE = {"target": "Refused: all modules have one form, and there is nothing to choose."}


def _own(model: _Model, at: str) -> Iterator[Setting]:
    """The fields of a model, with the model's own defaults."""
    for name, field in model.model_fields.items():
        default = (
            "" if field.is_required() else _shown(field.get_default(call_default_factory=True))
        )
        words = description(model, name) or ""
        yield Setting(f"{at}{field.alias or name}", _values(model, name), default, words)


def _choices(kind: str) -> Iterator[Group]:
    """A group for each file under recipes/KIND that has settings of its own."""
    for path in sorted((shipped_recipes() / kind).glob("*.yaml")):
        document = _read(path)
        if kind in document and "defaults" not in document:
            read_as = _read_as(document, kind)
            settings = [
                setting
                for name, value in document[kind].items()
                for setting in _of_block(
                    kind, {name: value}, read_as, _models(document, kind, name, first=path.stem)
                )
                if name not in _FIXED
            ]
            yield Group(f"{kind}={path.stem}", _about(path), tuple(settings))


def _stages() -> Iterator[Group]:
    """Settings that ``with`` of a stage may hold, for each kind of stage that a recipe can name."""
    for kind, stages in sorted(all_stages().items()):
        names = sorted({str(chosen(stage).get("metric", kind)) for stage in stages})
        for name in names if kind != "quantize" else []:
            models = [s.recipe_params() for s in stages if chosen(s).get("metric", kind) == name]
            fields = dict.fromkeys(field for model in models for field in model.model_fields)
            block = {field: _default(models, field) for field in fields}
            settings = _of_block("stages.NAME.with", block, {}, models)
            if settings:
                uses = f"uses: {kind}" + (f", metric: {name}" if name != kind else "")
                yield Group(f"stage={name}", f"Parameters of a stage with {uses}.", settings)


def _of_block(
    at: str,
    block: Mapping[str, Any],
    read_as: Mapping[str, str],
    models: Sequence[_Model],
) -> tuple[Setting, ...]:
    """The settings of a block, in the words of the models that read them; ``read_as`` are the
    parameters that have another name than the setting."""
    settings = []
    chosen_texts = _chosen_texts()
    for name, given in block.items():
        value = chosen_texts.get(given, given) if isinstance(given, str) else given
        is_parameter = any(name in model.model_fields for model in models)
        parameter = name if is_parameter else read_as.get(name, name)
        default = "" if value in ("???", ...) else _shown(value)
        values = _all_values(models, parameter, value)
        settings.append(Setting(f"{at}.{name}", values, default, _words(models, parameter)))
    return tuple(settings)


@cache
def _chosen_texts() -> dict[str, str]:
    """The texts that the base of recipes chooses, by the interpolation that stands for each."""
    base = _read(shipped_recipes() / "config.yaml")
    options = {group: name for entry in base["defaults"][1:] for group, name in entry.items()}
    files = [shipped_recipes() / group / f"{options[group]}.yaml" for group in _TEXTS]
    return {f"${{vars.{n}}}": text for file in files for n, text in _read(file)["vars"].items()}


def _models(document: Mapping[str, Any], kind: str, name: str, *, first: str) -> list[_Model]:
    """The params models that may read the setting ``name`` of a group: those of the stages that it
    is handed to, of the stage ``first`` in front, and of each stage those of its usual engine."""
    block, specs = document[kind], dict(document["stages"])
    handed = [key for key, spec in specs.items() if _handed(spec, kind, name)] or list(specs)
    models: list[_Model] = []
    for key in sorted(handed, key=lambda key: key != first):
        handed_with = specs[key].get("with")
        fixed = handed_with if isinstance(handed_with, Mapping) else block
        for stage in all_stages()[specs[key]["uses"]]:
            own = chosen(stage)
            if all(fixed.get(field, own[field]) == own[field] for field in _FIXED if field in own):
                models.append(stage.Params)
    usual = [model for model in models if _default([model], "engine") == block.get("engine", ...)]
    return list(dict.fromkeys([*usual, *models, schema.StageSpec]))


def _handed(spec: Mapping[str, Any], kind: str, name: str) -> bool:
    parameters = spec.get("with")
    values = parameters.values() if isinstance(parameters, Mapping) else [parameters]
    return f"${{{kind}}}" in values or f"${{{kind}.{name}}}" in values


def _read_as(document: Mapping[str, Any], kind: str) -> dict[str, str]:
    """Setting → parameter, where a group hands a setting on under another name."""
    text = json.dumps([document.get("stages"), document.get("vars")])
    handed = re.findall(rf'"(\w+)": "\${{{kind}\.(\w+)}}"', text)
    own = {setting for parameter, setting in handed if parameter == setting}
    return {setting: parameter for parameter, setting in handed if setting not in own}


def _words(models: Sequence[_Model], name: str) -> str:
    for model in models:
        if words := description(model, name):
            return words
        if ours := dict(getattr(model, "SPELLINGS", ())).get(name):
            return f"Another tool's name for {ours}."
        if name in getattr(model, "SKIP_LISTS", ()):
            return "Another tool's list of modules to leave as they are."
    return _NULL_ALONE.get(name, "")


def _all_values(models: Sequence[_Model], name: str, default: Any) -> str:
    """The values of a parameter, and where engines or backends differ those of each."""
    able = [model for model in models if name in model.model_fields]
    if not able and name in _NULL_ALONE:
        return "null"
    if not able:
        spelled = {theirs: ours for m in models for theirs, ours in getattr(m, "SPELLINGS", ())}
        return _all_values(models, spelled[name], None) if name in spelled else "list of names"
    if name in _CHOOSERS:
        names = dict.fromkeys(str(model.model_fields[name].default) for model in able)
        return ", ".join(([AUTO] if default == AUTO else []) + list(names))
    usual, *others = able
    first = _values(usual, name)
    said = {_who(model): _values(model, name) for model in others}
    differing = [f"{who}: {values}" for who, values in said.items() if values != first]
    extra = [default] if default == "none" else []  # a group's own word, for one more alternative
    return "; ".join([", ".join([*extra, first]), *differing])


def _who(model: _Model) -> str:
    fields = model.model_fields
    chooser = "engine" if "engine" in fields else "backend"
    return str(fields[chooser].default) if chooser in fields else ""


def _default(models: Sequence[_Model], name: str) -> Any:
    fields = [model.model_fields[name] for model in models if name in model.model_fields]
    if not fields:
        return None
    if name in _CHOOSERS and len({field.default for field in fields}) > 1:
        return AUTO
    return ... if fields[0].is_required() else fields[0].get_default(call_default_factory=True)


def _values(model: _Model, name: str) -> str:
    """The values that a field takes, without null: its words say what that stands for."""
    try:
        whole = _json_schema(model)
    except PydanticInvalidForJsonSchema:  # pydantic 2 knows no schema of a plugin's own type
        return str(model.model_fields[name].annotation)
    return _kind(whole["properties"][name])


@cache
def _json_schema(model: _Model) -> dict[str, Any]:
    return model.model_json_schema(by_alias=False)


def _kind(part: Mapping[str, Any]) -> str:
    if "anyOf" in part:
        kinds = dict.fromkeys(_kind(one) for one in part["anyOf"] if one.get("type") != "null")
        return " or ".join(kinds)
    if "enum" in part or "const" in part:
        return ", ".join(_shown(value) for value in part.get("enum", [part.get("const")]))
    if part.get("format") == "bytes":
        return "size, as 8GB"
    names = {"boolean": "true, false", "string": "text", "array": "list"}
    kind = part.get("type", "object")
    return names.get(kind) or ("mapping" if kind == "object" else f"{kind}{_bounds(part)}")


def _bounds(part: Mapping[str, Any]) -> str:
    least, most = part.get("minimum"), part.get("maximum")
    if least is not None:
        return f", {least:g} to {most:g}" if most is not None else f", {least:g} or more"
    above, below = part.get("exclusiveMinimum"), part.get("exclusiveMaximum")
    if above is None:
        return ""
    return f", above {above:g}" + (f" and below {below:g}" if below is not None else "")


def _shown(value: Any) -> str:
    if isinstance(value, BaseModel):
        value = value.model_dump(exclude_defaults=True)
    return value if isinstance(value, str) else json.dumps(value)


def _read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    return document


def _about(path: Path) -> str:
    """The comment at the head of a group's file, up to its first example."""
    lines = path.read_text(encoding="utf-8").splitlines()[1:]
    head = " ".join(
        line.removeprefix("# ") for line in takewhile(lambda line: line[:1] == "#", lines)
    )
    return re.split(r":? *qpipe run ", head)[0].rstrip(" .:") + "."


def groups_named(name: str, every: Sequence[Group]) -> list[Group]:
    """Return the groups of that name, or those of a choice, or the groups that have that setting.

    Raises UsageError if there are none.
    """
    groups = [g for g in every if name in (g.name, *g.name.split("="))]
    if groups:
        return groups
    for group in every:
        settings = tuple(setting for setting in group.settings if setting.name == name)
        groups += [replace(group, settings=settings)] if settings else []
    if not groups:
        names = {part for group in every for part in (group.name, *group.name.split("="))}
        dotted = {setting.name for group in every for setting in group.settings}
        raise UsageError(f"settings: there is no {name!r}; {nearest(name, names | dotted)}")
    return groups
