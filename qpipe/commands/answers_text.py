"""The forms of answers with ``--json`` as a page of the reference."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

_HEAD = """\
# Answers with --json

Written by `qpipe settings -o` from `qpipe/commands/answers.schema.json`, a JSON Schema that is
shipped with the package. Each verb answers with one object on stdout, also for an error. `schema`
names its form and the form's number: new fields leave the number as it is; fields that go, or mean
something else, raise it. A field in *italics* may be missing. Times are seconds since the epoch,
spans seconds, sizes bytes. What is not a number in JSON (NaN, infinity) is a string.
"""


def definitions() -> dict[str, Any]:
    """Return the JSON Schemas of answers, and of what they share, by name."""
    file = resources.files("qpipe.commands").joinpath("answers.schema.json")
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))["$defs"]
    return found


def page() -> str:
    """Return the page as Markdown: the answers, and then what is inside of them."""
    every = definitions()
    answers = {n: each for n, each in every.items() if "schema" in each.get("properties", ())}
    parts = {name: each for name, each in every.items() if name not in answers}
    lines = [_HEAD]
    for name, each in answers.items():
        lines += [f"## {each['properties']['schema']['const']}", *_described(name, each)]
    lines.append("## Parts\n")
    for name, each in parts.items():
        lines += [f"### {name}", *_described(name, each)]
    return "\n".join(lines).rstrip() + "\n"


def _described(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield f"{schema['description']}\n"
    yield "| field | | |\n|---|---|---|"
    yield from _rows(schema, "")
    if schema.get("additionalProperties") is not False:
        yield "| … | | further fields |"
    yield ""


def _rows(schema: Mapping[str, Any], before: str) -> Iterator[str]:
    for name, field in schema["properties"].items():
        if name == "schema":
            continue
        optional = name not in schema["required"]
        shown = f"*`{before}{name}`*" if optional else f"`{before}{name}`"
        yield f"| {shown} | {_kind(field)} | {field.get('description', '')} |"
        inner, step = _inside(field)
        if "properties" in inner:
            yield from _rows(inner, f"{before}{name}{step}")


def _inside(field: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """The object inside of a field, and how its fields are reached."""
    if "items" in field:
        return field["items"], "[]."
    if isinstance(more := field.get("additionalProperties"), dict):
        return more, ".*."
    return next((each for each in field.get("anyOf", ()) if "properties" in each), field), "."


def _kind(field: Mapping[str, Any]) -> str:
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name})"
    if "const" in field:
        return f"`{json.dumps(field['const'])}`"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "items" in field:
        return f"array of {_kind(field['items'])}"
    if isinstance(more := field.get("additionalProperties"), dict) and "type" in more:
        return f"object of {_kind(more)}"
    if "anyOf" in field:
        return " or ".join(map(_kind, field["anyOf"]))
    kinds = field.get("type", "any")
    return kinds if isinstance(kinds, str) else " or ".join(kinds)
