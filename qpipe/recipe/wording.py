"""What users read when a recipe cannot be composed: Hydra's and YAML's errors in our words.

Plain text in, plain text out; load.py is where the foreign errors are caught.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from qpipe.errors import nearest
from qpipe.recipe.origins import Origins, shown

_LINK = re.compile(r"\n?.*https?://\S+.*")
_POSITION = re.compile(r"char (\d+)|^column (\d+)")


def bad_syntax(override: str, message: str) -> str:
    """An override that Hydra's grammar refuses, with a mark under the place if it is known."""
    found = re.search(r"Error when parsing|(?:^|\n)([^\n]*)\n *\^", message)
    reason = _LINK.sub("", message).strip().split("\n")[0]
    reason = re.sub(r"^(?:LexerNoViableAltException: .*|Error parsing override .*)$", "", reason)
    caret = re.search(r"\n( *)\^", message)
    mark = ""
    if caret and found and found[1] and (start := found[1].find(override)) >= 0:
        mark = f"\n  {override}\n  {' ' * max(0, len(caret[1]) - start)}^"
    if "=" not in override and not override.startswith("~"):
        return f"{override!r}: an override is written key=value" + mark
    return (
        f"the override {override!r} cannot be read"
        + (f": {reason}" if reason else "")
        + mark
        + "\n"
        "quote a value with special characters, and once more for the shell: "
        "'key=\"a, b = {c}\"'"
    )


def bad_yaml(path: str, line: int, column: int, *, problem: str) -> str:
    """A file that is no YAML."""
    return f"{shown(path)}:{line}:{column}: this is no valid YAML: {problem}"


def unknown_field(
    override: str, field: str, *, config: Mapping[str, Any], groups: Iterable[str]
) -> str:
    """An override of a field that is not there: the nearest names at the level where it failed."""
    parts = re.split(r"[.\[\]]+", field.strip("]"))
    level: Any = config
    depth = 0
    while depth < len(parts) and isinstance(level, Mapping) and parts[depth] in level:
        level = level[parts[depth]]
        depth += 1
    above = ".".join(parts[:depth])
    if depth == len(parts):
        return f"the override {override!r} cannot be applied to {field}"
    if not isinstance(level, Mapping):
        return f"the override {override!r}: {above} is {level!r} and has no fields"
    known = [str(name) for name in level] + (list(groups) if depth == 0 else [])
    missing = parts[depth]
    place = f"{above} has no field {missing!r}" if above else f"there is no field {missing!r}"
    add = "" if override.startswith("~") else f" (to add a new field: +{override.lstrip('+')})"
    return f"the override {override!r}: {place}; {nearest(missing, known)}{add}"


def exists_already(override: str, field: str) -> str:
    """``+field=…`` for a field that is there."""
    return (
        f"the override {override!r}: {field} is there already; "
        f"without the + it is changed: {override.lstrip('+')}"
    )


def no_such_group(override: str, group: str, groups: Iterable[str]) -> str:
    """``group@package=…`` for a group that does not exist."""
    return (
        f"the override {override!r}: there is no config group {group!r}; {nearest(group, groups)}"
    )


def unknown_option(missing: str, options: Iterable[str], *, where: str) -> str:
    """A config group's option, or a file of a defaults list, that does not exist."""
    group, _, option = missing.rpartition("/")
    if not group:
        return f"{where}: its defaults list names {missing!r}, and there is no {missing}.yaml"
    plugin = "; if it is a plugin's, install that plugin" if group.startswith("hydra/") else ""
    return (
        f"{group}={option} ({where}): there is no {option!r} in the group {group}; "
        f"{nearest(option, options)}{plugin}"
    )


def missing_value(field: str, origins: Origins) -> str:
    """A mandatory field (``???``) that nobody gave."""
    return (
        f"{field}: a value is missing; {origins.origin(field)} leaves it to you: "
        f"add {field}=… on the command line, or set it in your recipe"
    )


def bad_interpolation(
    field: str, message: str, *, config: Mapping[str, Any], origins: Origins
) -> str:
    """A ``${…}`` that leads nowhere or cannot be computed."""
    written = origins.raw(field)
    at = f"{field} ({origins.origin(field)})" + (f": {written!r}" if written else "")
    missing = re.search(r"Interpolation key '([^']*)' not found", message)
    if missing:
        parts = missing[1].split(".")
        level: Any = config
        while parts and isinstance(level, Mapping) and parts[0] in level:
            level = level[parts.pop(0)]
        known = level if isinstance(level, Mapping) else ()
        hint = nearest(parts[0], map(str, known)) if parts else "it is empty"
        return f"{at} refers to {missing[1]}, which is not there; {hint}"
    return f"{at} cannot be resolved: {first_line(message)}"


def sweep_without_multirun(override: str) -> str:
    """Several values where one is wanted."""
    key, _, value = override.partition("=")
    return (
        f"the override {override!r} gives several values: add -m to sweep over them, "
        f"or write {key}=[{value}] for a list, '{key}=\"{value}\"' for one text"
    )


def not_launchable(launcher: str) -> str:
    """Another launcher than ours."""
    return (
        f"hydra/launcher ({launcher}): qpipe runs all jobs of a sweep as one graph and takes no "
        "other launcher; take it out, and choose where stages run with executor=…"
    )


def holds_target(where: str) -> str:
    """A ``_target_``, which Hydra would call."""
    return (
        f"{where}: _target_ is not allowed: a recipe is data and runs no code; "
        "stages are chosen with `uses`"
    )


def first_line(message: str) -> str:
    """The part of a foreign message that says what happened."""
    text = _LINK.sub("", message).strip()
    lines = [line.strip() for line in text.split("\n")]
    return next((line for line in lines if line), "no reason is given")


def condensed(message: str) -> str:
    """A foreign message on one line, without its links and search paths."""
    text = _LINK.sub("", message).split("\nConfig search path:")[0]
    return "; ".join(line.strip().rstrip(".;:") for line in text.split("\n") if line.strip())
