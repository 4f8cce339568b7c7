"""What users read when a recipe cannot be composed: Hydra's and YAML's errors in our words.

Plain text in, plain text out; load/errors.py is where the foreign errors are caught.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from qpipe.errors import by_reason, nearest
from qpipe.recipe.draft import InvalidJobDraft
from qpipe.recipe.origins import Origins, shown

# Of the wrong jobs of a sweep, how many a message tells of.
_MOST_JOBS = 8

_LINK = re.compile(r"\n?.*https?://\S+.*")

# What Hydra 1.3 (defaults_list.py, config_loader_impl.py) and OmegaConf 2.3 say, in a recipe's
# words. Their exceptions have the reason in the message alone.
_OURS = (
    (
        r"(\S+) appears more than once in the final defaults list",
        r"the config group \1 is chosen twice; to choose another write \1=… on the command line, "
        r"or `override \1: …` in a defaults list",
    ),
    (
        r"(In '[^']*': )?Could not override '([^']*)'(\. No match in the defaults list)?.*",
        r"there is no config group \2 in the defaults list to override; bring one in with +\2=…",
    ),
    (
        r"Could not delete '([^']*)'\. No match in the defaults list",
        r"~\1: the defaults list does not have it, so it cannot be taken out",
    ),
    (
        r"You must specify '([^']*)', e\.g, \S+; Available options; (.*)",
        r"the config group \1 is left to you: add \1=… on the command line (there is: \2)",
    ),
    (
        r"primary config '[^']*' must be a DictConfig, got \w+",
        "a recipe is a mapping of fields; this file holds something else",
    ),
    (r"In '[^']*': \w+ raised while composing config; (.*); full_key: ([^;]*).*", r"\2: \1"),
    (r"\w+ raised while resolving interpolation: ", ""),
    (r"Unsupported interpolation type (\w+)", r"there is no resolver '\1'"),
    (r"Recursive interpolation detected.*", "its value leads back to itself"),
    (r"provider=(.*), path=(.*) is not available", r"\1: there is no folder \2"),
    (r"; full_key.*", ""),
)


def bad_syntax(override: str, message: str) -> str:
    """An override that Hydra's grammar refuses, with a mark under the place if it is known."""
    key, equals, _ = override.partition("=")
    if not key or (not equals and not key.startswith("~")):
        return f"{override!r}: an override is written key=value"
    reason, place = _reason(override, message)
    mark = f"\n  {override}\n  {' ' * place}^" if place is not None else ""
    if re.fullmatch(r"[^=]*=\s*\{.*\}\s*", override, re.DOTALL):
        return f"the override {override!r} cannot be read{reason}{mark}\n{as_pairs(override)}"
    return (
        f"the override {override!r} cannot be read{reason}{mark}\n"
        "put quotes around a value with special characters, and once more for the shell: "
        f"'{key}=\"…\"'"
    )


def as_pairs(override: str) -> str:
    """Advice to write ``field={…}`` as pairs, for keys that Hydra's grammar cannot write (1.3)."""
    key, _, value = override.partition("=")
    items = [item.partition(":") for item in value.strip().strip("{}").split(",")]
    pairs = [(_unquoted(name), worth.strip()) for name, _, worth in items]
    written = ",".join(f'["{name}",{worth}]' for name, worth in pairs if name and worth)
    return (
        "keys in {…} are letters, digits and a few signs without quotes; regular expressions "
        f"(quantize.modules, quantize.tensor_types) are written as pairs: '{key}=[{written}]'. "
        "Anything else goes into a recipe file"
    )


def _unquoted(name: str) -> str:
    """A key without quotes, and without the backslashes that a shell or Hydra was to take away."""
    return re.sub(r"\\([\^$])", r"\1", name.strip().strip("\"'"))


def _reason(override: str, message: str) -> tuple[str, int | None]:
    """Why, as the end of a sentence, and the index of the character at which it went wrong."""
    text = _LINK.sub("", message).strip()
    if lexer := re.fullmatch(r"(.*?: )\S.*\n( *)\^", text, re.DOTALL):
        return "", len(lexer[2]) - len(lexer[1])
    lines = [line for line in text.split("\n") if not line.startswith("Error parsing override")]
    if match := re.search(r"input '(.*?)'(?: expecting|$)", lines[0]):
        token = match[1]
        if token == "<EOF>":
            return ": its end is missing", len(override)
        start = override.find(token, override.find("=") + 1)
        place = start if start >= 0 and override.find(token, start + 1) < 0 else None
        whole = "is not finished, or" if "no viable" in lines[0] else "is"
        return f": {token!r} {whole} not expected here", place
    return ": " + "; ".join(line.strip() for line in lines if line.strip()), None


def bad_yaml(path: str, line: int, column: int, *, problem: str) -> str:
    """A file that is no YAML."""
    return f"{shown(path)}:{line}:{column}: this is no valid YAML: {problem}"


def unknown_field(
    override: str, field: str, *, config: Mapping[str, Any], groups: Collection[str]
) -> str | None:
    """An override of a field that is not there: the nearest names at the level where it failed.

    None if the field is there.
    """
    parts = re.split(r"[.\[\]]+", field.strip("]"))
    level: Any = config
    depth = 0
    while depth < len(parts) and isinstance(level, Mapping) and parts[depth] in level:
        level = level[parts[depth]]
        depth += 1
    above = ".".join(parts[:depth])
    if depth == len(parts):
        return None
    if isinstance(level, list):
        return f"the override {override!r}: {above} is a list of {len(level)}, counted from 0"
    if isinstance(level, str) and "${" in level:
        return f"the override {override!r}: {above} is {level!r}; change what it refers to"
    if not isinstance(level, Mapping):
        add = f"; to give it one: +{override}" if level is None and override[:1] not in "+~" else ""
        return f"the override {override!r}: {above} is {level!r} and has no fields{add}"
    names = {str(name) for name in level} | set(groups if depth == 0 else ())
    missing = parts[depth]
    if depth == 0 and missing in groups:
        return (
            f"the override {override!r}: {missing} is chosen by {missing}=NAME, and has no fields "
            "in this recipe; `qpipe show RECIPE` prints all fields"
        )
    place = f"{above} has no field {missing!r}" if above else f"there is no field {missing!r}"
    add = "" if override.startswith("~") else f" (to add a new field: +{override.lstrip('+')})"
    return f"the override {override!r}: {place}; {nearest(missing, names)}{add}"


def unknown_key(override: str, field: str, key: str, *, fields: Iterable[str]) -> str:
    """``field={key: …}`` with a key that is not there."""
    return (
        f"the override {override!r}: {field} has no field {key!r}; {nearest(key, fields)} "
        f"(to add fields: +{override.lstrip('+')})"
    )


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


def misspelt_group(message: str, groups: Sequence[str]) -> str | None:
    """A defaults list that overrides a config group which does not exist, in Hydra's words."""
    absent = re.search(r"Could not override '([^'@]*)", message)
    if absent is None or not groups or absent[1] in groups:
        return None
    return (
        f"its defaults list overrides {absent[1]!r}, and there is no such config group; "
        f"{nearest(absent[1], groups)}"
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
        names = level if isinstance(level, Mapping) else ()
        hint = nearest(parts[0], map(str, names)) if parts else "it is empty"
        return f"{at} refers to {missing[1]}, which is not there; {hint}"
    return f"{at} cannot be resolved: {condensed(message)}"


def sweep_without_multirun(override: str) -> str:
    """Several values where one is wanted."""
    key, _, value = override.partition("=")
    return (
        f"the override {override!r} gives several values: add -m to sweep over them, "
        f"or write {key}=[{value}] for a list, '{key}=\"{value}\"' for one text"
    )


def invalid_jobs(jobs: Sequence[InvalidJobDraft], total: int) -> str:
    """Jobs of a sweep that cannot be run, a line for each of the first reasons."""
    lines = by_reason((job["name"], job["error"]) for job in jobs)
    if len(lines) > _MOST_JOBS:
        lines[_MOST_JOBS:] = [f"and for {len(lines) - _MOST_JOBS} more reasons"]
    head = f"{len(jobs)} of the {total} jobs of the sweep cannot be run"
    tail = (
        []
        if len(jobs) == total
        else ["--keep-going, or run.skip_invalid=true, leaves such jobs out and runs the others"]
    )
    return "\n".join([head, *lines, *tail])


def too_many_jobs(most: int) -> str:
    """A sweep that comes to more jobs than may be meant."""
    return (
        f"the sweep comes to more than {most:,} jobs; name fewer values, or raise the limit: "
        "hydra.sweeper.max_jobs=NUMBER"
    )


def not_launchable(launcher: str) -> str:
    """Another launcher than ours."""
    return (
        f"hydra/launcher ({launcher or 'of no class'}): qpipe runs a sweep as one graph "
        "and takes no other launcher; take it out, and choose where stages run with executor=…"
    )


def not_a_folder(path: str) -> str:
    """An entry of hydra.searchpath that is a package."""
    return (
        f"hydra.searchpath: {path}: only folders are searched: a recipe is data, and a package is "
        "code"
    )


def names_code(field: str, value: object) -> str:
    """A setting of a sweeper that would import what it names."""
    return f"{field}: {value!r} is not allowed: a recipe is data and runs no code"


def holds_target(where: str) -> str:
    """A ``_target_``, which Hydra would call."""
    return (
        f"{where}: _target_ is not allowed: a recipe is data and runs no code; "
        "stages are chosen with `uses`"
    )


def not_a_group_option(override: str, group: str, options: Iterable[str]) -> str:
    """``group=5`` or ``++group=x``."""
    return (
        f"the override {override!r}: {group} is a config group; write {group}=NAME or "
        f"{group}=[NAME,NAME] (there is {', '.join(sorted(options))})"
    )


def condensed(message: str) -> str:
    """A foreign message on one line and in our words, without links and search paths."""
    text = _LINK.sub("", message).split("\nConfig search path:")[0]
    line = "; ".join(part.strip().rstrip(".;:") for part in text.split("\n") if part.strip())
    for theirs, ours in _OURS:
        line = re.sub(theirs, ours, line)
    return line
