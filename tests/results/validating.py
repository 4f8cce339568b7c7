"""As much of JSON Schema (draft 2020-12) as run.schema.json uses; any other keyword is an error."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_TYPES: dict[str, Any] = {
    "object": dict, "array": list, "string": str, "boolean": bool, "null": type(None),
    "number": (int, float), "integer": int,
}  # fmt: skip
_WORDS = {"description", "title", "$schema", "$defs"}


def faults(value: Any, schema: dict[str, Any], root: dict[str, Any], at: str = "") -> list[str]:
    """Where ``value`` is not as ``schema`` says."""
    found: list[str] = []
    for keyword, argument in schema.items():
        if keyword not in _WORDS:
            found += _faults(keyword, argument, value, schema, root, at)
    return found


def _faults(
    keyword: str, given: Any, value: Any, schema: dict[str, Any], root: dict[str, Any], at: str
) -> Iterator[str]:
    if keyword == "$ref":
        yield from faults(value, root["$defs"][given.removeprefix("#/$defs/")], root, at)
    elif keyword == "anyOf":
        if all(faults(value, each, root, at) for each in given):
            yield f"{at}: fits none of anyOf"
    elif keyword == "type":
        if not any(_is(value, name) for name in ([given] if isinstance(given, str) else given)):
            yield f"{at}: {value!r} is no {given}"
    elif keyword in ("enum", "const"):
        if value not in (given if keyword == "enum" else [given]):
            yield f"{at}: {value!r} is not {given}"
    elif keyword == "pattern":
        if isinstance(value, str) and not re.search(given, value):
            yield f"{at}: {value!r} does not match {given}"
    elif keyword in ("minimum", "maximum"):
        if _is(value, "number") and (value < given if keyword == "minimum" else value > given):
            yield f"{at}: {value} beyond {keyword} {given}"
    elif keyword in ("minItems", "maxItems"):
        if isinstance(value, list) and (
            len(value) < given if keyword == "minItems" else len(value) > given
        ):
            yield f"{at}: {len(value)} items"
    elif keyword == "items":
        for number, item in enumerate(value if isinstance(value, list) else ()):
            yield from faults(item, given, root, f"{at}[{number}]")
    elif keyword == "required":
        lacking = [name for name in given if isinstance(value, dict) and name not in value]
        yield from (f"{at}.{name}: missing" for name in lacking)
    elif keyword == "properties":
        for name, each in given.items():
            if isinstance(value, dict) and name in value:
                yield from faults(value[name], each, root, f"{at}.{name}")
    elif keyword == "additionalProperties":
        known = schema.get("properties", {})
        for name in (n for n in value if n not in known) if isinstance(value, dict) else ():
            if given is False:
                yield f"{at}.{name}: not known"
            else:
                yield from faults(value[name], given, root, f"{at}.{name}")
    else:
        raise AssertionError(f"keyword {keyword} is not known here")


def _is(value: Any, name: str) -> bool:
    return isinstance(value, _TYPES[name]) and (name == "boolean" or not isinstance(value, bool))
