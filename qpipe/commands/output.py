"""Answers on stdout, and words on either stream."""

from __future__ import annotations

import json
import os
import sys

from qpipe.report import text

TYPE_CHECKING = False  # typing's own would cost `qpipe ls` the import of typing
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import IO, Any


def print_json(schema: str, fields: Mapping[str, Any]) -> None:
    """Print the one JSON document of an answer: its ``schema`` ("plan/1"), and its fields.

    answers.schema.json beside this file describes each. A form whose fields are removed or mean
    something else gets the next number; new fields leave it as it is. JSON has no NaN and no
    infinity: what a file has of them is told as a string.
    """
    document = {"schema": f"qpipe.{schema}", **{k: v for k, v in fields.items() if k != "schema"}}
    try:
        print(json.dumps(document, indent=1, allow_nan=False))
    except ValueError:
        print(json.dumps(_finite(document), indent=1, allow_nan=False))


def say(words: str, *, file: IO[str] | None = None) -> None:
    """Print words with names in them that came from elsewhere: see `text.printable`."""
    print(text.printable(words, lines=True), file=file)


def width() -> int | None:
    """Return the columns of the terminal that stdout is, None where it is none; COLUMNS overrides
    what the terminal says."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return int(columns) if sys.stdout.isatty() else None
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    except (OSError, ValueError):
        return None


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if abs(value) < float("inf") else json.dumps(value)
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
