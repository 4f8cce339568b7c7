"""What an engine returns of the model that it made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class ModelFacts:
    """A model's format, bytes and weights.

    ``bits_per_weight`` counts tensor data only, as llama.cpp does; ``size_bytes`` is the file, or
    all files. ``tensor_types`` is the number of tensors of each type. ``source`` is what a
    conversion was made from at first. ``notes`` are warnings to show, None: this way of making has
    none; ``more`` are facts of the engine's own.
    """

    format: str | None
    size_bytes: int
    weights: int | None = None
    bits_per_weight: float | None = None
    tensor_bytes: int | None = None
    architecture: str | None = None
    tensors: int | None = None
    tensor_types: Mapping[str, int] | None = None
    source: str | None = None
    notes: tuple[str, ...] | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

    def adding(self, *, notes: Sequence[str] | None = None, **more: Any) -> ModelFacts:
        """The same facts, with ``notes``, if given, in place of their own, and with more facts."""
        all_notes = self.notes if notes is None else tuple(notes)
        return replace(self, notes=all_notes, more={**self.more, **more})
