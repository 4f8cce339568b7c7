"""JSON files of a checkpoint: read strictly, with errors that name the file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from qpipe import errors
from qpipe.support import strict_json
from qpipe.support.files import read_file
from qpipe.support.strict_json import DuplicateKeyError

_SMALL_FILES = ("config.json", "generation_config.json")
_SMALL = 1 << 25

__all__ = ["DuplicateKeyError", "load", "parse"]


def load(path: Path) -> dict[str, Any]:
    """The object in ``path``; `CheckpointError` if it is missing, no JSON or no object."""
    if not os.path.lexists(path):
        raise errors.CheckpointError(
            f"{path}: missing; a Hugging Face checkpoint has this file: download it again"
        )
    most = _SMALL if path.name in _SMALL_FILES else strict_json.MOST
    text = read_file(path, errors.CheckpointError, most=most)
    try:
        return parse(text)
    except ValueError as error:
        raise errors.CheckpointError(
            f"{path}: not usable as JSON: {error}; download it again"
        ) from None


def parse(text: bytes) -> dict[str, Any]:
    """The JSON object ``text``; `ValueError` for anything else, a duplicate key included."""
    value = strict_json.parse(text)
    if not isinstance(value, dict):
        raise ValueError(f"it holds a {type(value).__name__}, not an object")
    return value
