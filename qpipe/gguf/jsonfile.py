"""JSON files of a checkpoint: read strictly, with errors that name the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from qpipe import errors


class DuplicateKeyError(ValueError):
    """An object names the same key twice."""


def load(path: Path) -> dict[str, Any]:
    """The object in ``path``; `CheckpointError` if it is missing, no JSON or no object."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise errors.CheckpointError(
            f"{path}: missing; a Hugging Face checkpoint has this file: download it again"
        ) from None
    try:
        return parse(text)
    except ValueError as error:
        raise errors.CheckpointError(
            f"{path}: not usable as JSON: {error}; download it again"
        ) from None


def parse(text: bytes) -> dict[str, Any]:
    """The JSON object ``text``; `ValueError` for anything else, a duplicate key included."""
    try:
        value = json.loads(text.decode(), object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError(f"it holds a {type(value).__name__}, not an object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise DuplicateKeyError(f"the key {twice!r} appears twice")
    return found
