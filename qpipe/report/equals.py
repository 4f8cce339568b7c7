"""Rows whose files have the same tensors, byte for byte, say so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from qpipe.results.comparison import ModelRow
from qpipe.results.same_tensors import groups, note


def with_equals(rows: Sequence[ModelRow], signatures: Sequence[str | None]) -> list[ModelRow]:
    """Return the rows with the first of those that share a signature in ``same_as``, and a note on
    all of them."""
    marked = [*rows]
    for equal in groups(enumerate(signatures)):
        formats = list(dict.fromkeys(rows[number].format or "" for number in equal))
        names = [rows[number].name for number in equal]
        words = note(formats if len(formats) == len(equal) else names)
        for number in equal:
            row = rows[number]
            same_as = None if number == equal[0] else names[0]
            marked[number] = replace(row, notes=(*row.notes, words), same_as=same_as)
    return marked
