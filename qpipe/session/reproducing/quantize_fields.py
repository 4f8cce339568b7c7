"""The fields of a recipe's ``quantize`` section under overrides, without composing it.

Composing takes tens of milliseconds a recipe and imports Hydra. Nearly all tables choose a method
and set fields of it, which the shipped YAML and the overrides say by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from qpipe.recipe.request import shipped_recipes

_SECTION = "quantize"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# What only Hydra and OmegaConf read.
_SYNTAX = "${}'\"\\"
_BASE = "config"


class NotSimpleError(Exception):
    """The fields hang on more than a method and values: the recipe has to be composed."""


def fields(recipe: str, overrides: Sequence[str]) -> dict[str, Any]:
    """The fields of ``quantize`` of a shipped recipe. Raises NotSimpleError."""
    option, own = _of_recipe(recipe)
    settings: dict[str, Any] = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if key == _SECTION:
            option = text
        elif key.startswith(f"{_SECTION}.") and equals:
            settings[key.partition(".")[2]] = _value(text)
        elif key.lstrip("+~").partition(".")[0] == _SECTION:
            raise NotSimpleError(override)
    section = {**_of_option(option), **own}
    if not settings.keys() <= section.keys():  # composing says which there are
        raise NotSimpleError(", ".join(settings.keys() - section.keys()))
    return {**_plain(section), **settings}


def _value(text: str) -> Any:
    if any(sign in text for sign in _SYNTAX) or "," in text:
        raise NotSimpleError(text)
    try:
        return yaml.load(text, Loader=_LOADER)
    except yaml.YAMLError:
        raise NotSimpleError(text) from None


def _plain(section: Mapping[str, Any]) -> dict[str, Any]:
    """The values that are no interpolation."""
    return {
        name: value
        for name, value in section.items()
        if not (isinstance(value, str) and "${" in value)
    }


@cache
def _of_recipe(recipe: str) -> tuple[str, Mapping[str, Any]]:
    """The option of the group ``quantize`` that a recipe chooses, and its own section."""
    document = _document(shipped_recipes() / f"{recipe}.yaml")
    option = "gguf"
    for default in document.get("defaults", ()):
        if default in (_BASE, "_self_"):
            continue
        if not isinstance(default, Mapping) or len(default) != 1:
            raise NotSimpleError(recipe)
        group, chosen = next(iter(default.items()))
        if str(group).removeprefix("override ").strip() == _SECTION:
            option = str(chosen)
    section = document.get(_SECTION) or {}
    if not isinstance(section, Mapping):
        raise NotSimpleError(recipe)
    return option, section


@cache
def _of_option(option: str) -> dict[str, Any]:
    """The section of an option of the group, with those that it builds on."""
    document = _document(shipped_recipes() / _SECTION / f"{option}.yaml")
    section: dict[str, Any] = {}
    for default in document.get("defaults", ()):
        if default != "_self_":
            section |= _of_option(str(default))
    return section | dict(document.get(_SECTION) or {})


@cache
def _document(file: Path) -> Mapping[str, Any]:
    try:
        document = yaml.load(file.read_bytes(), Loader=_LOADER)
    except (OSError, yaml.YAMLError):
        raise NotSimpleError(str(file)) from None
    if not isinstance(document, Mapping):
        raise NotSimpleError(str(file))
    return document
