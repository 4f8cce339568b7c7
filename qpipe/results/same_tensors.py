"""Which GGUF files of a run have the same tensors, whatever they are called.

The bytes of a tensor follow from the source, the importance matrix, the tool and the tensor's type:
where all of these are equal, so are the tensors, and nothing has to be read or even made.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

_Name = TypeVar("_Name")

_ABOUT_TYPES = (
    *("type", "pure", "output_tensor_type", "token_embedding_type", "tensor_types"),
    *("like_digest", "scales", "provenance"),
)
"""Parameters that decide on tensors through their types alone, or on none."""


def signature(
    params: Mapping[str, Any],
    engine: Mapping[str, Any],
    inputs: Mapping[str, str],
    facts: Mapping[str, Any],
) -> str | None:
    """Return text that is equal for files with the same tensors, byte for byte; None where the
    ``facts`` of the file do not tell."""
    if params.get("method") != "gguf" or "types_digest" not in facts:
        return None
    others = {name: value for name, value in params.items() if name not in _ABOUT_TYPES}
    return json.dumps([facts["types_digest"], others, engine, inputs], sort_keys=True)


def groups(signatures: Iterable[tuple[_Name, str | None]]) -> list[list[_Name]]:
    """Return the names that share a `signature`, of those that are not alone."""
    by_signature: dict[str, list[_Name]] = {}
    for name, each in signatures:
        if each is not None:
            by_signature.setdefault(each, []).append(name)
    return [names for names in by_signature.values() if len(names) > 1]


def note(names: Sequence[str]) -> str:
    """Return a sentence on files that have the same tensors."""
    *others, last = names
    return (
        f"{', '.join(others)} and {last}: the same tensors, byte for byte; the files differ in "
        "what they say of themselves alone"
    )
