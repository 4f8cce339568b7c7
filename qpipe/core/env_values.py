"""Values of environment variables, which may be secrets: by name and digest in all that is kept.

A parameter that a recipe takes from ``${oc.env:TOKEN}`` stands in plans, keys, job files and
manifests as ``${env:TOKEN:SHA-256}``: another value is another key, and the value itself is read
again where the work is done.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping

from qpipe.core.key import Json
from qpipe.errors import RecipeError

_HIDDEN = re.compile(r"\$\{env:([A-Za-z_]\w*):([0-9a-f]{64})\}")


def digest(value: str) -> str:
    """SHA-256 (hex) of a variable's value."""
    return hashlib.sha256(value.encode(errors="surrogateescape")).hexdigest()


def hide(value: Json, variables: Mapping[str, str]) -> Json:
    """``value`` with the values of ``variables`` (by name) replaced wherever a text holds one."""
    # The longest first: one value may be a part of another.
    order = sorted((v for v in variables.items() if v[1]), key=lambda v: len(v[1]), reverse=True)
    if not order:
        return value
    names = {text: f"${{env:{name}:{digest(text)}}}" for name, text in order}
    pattern = re.compile("|".join(re.escape(text) for _, text in order))
    return _texts(value, lambda text: pattern.sub(lambda match: names[match[0]], text))


def reveal(value: Json) -> Json:
    """``value`` with what `hide` replaced put back, from this process's environment.

    Raises RecipeError where a variable is not set here, or to something else than at first.
    """
    return _texts(value, lambda text: _HIDDEN.sub(_revealed, text))


def hides_any(value: Json) -> bool:
    """Tell whether ``value`` holds a text that `hide` put in the place of another."""
    held: list[str] = []
    _texts(value, lambda text: held.append(text) or text)  # type: ignore[func-returns-value]
    return any(map(_HIDDEN.search, held))


def _revealed(match: re.Match[str]) -> str:
    name = match[1]
    value = os.environ.get(name)
    if value is None or digest(value) != match[2]:
        state = "is not set" if value is None else "has another value"
        raise RecipeError(
            f"${{oc.env:{name}}}: the variable {name} {state} where this stage runs; set it as it "
            "was where the command was given"
        )
    return value


def _texts(value: Json, change: Callable[[str], str]) -> Json:
    """``value`` with every text in it changed, keys of mappings too."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {change(name): _texts(inner, change) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_texts(inner, change) for inner in value]
    return value
