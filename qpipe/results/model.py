"""What an engine returns of the model that it made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class ModelFacts:
    """A model's format, bytes and weights.

    ``bits_per_weight`` counts tensor data only, as llama.cpp does; ``size_bytes`` is the file, or
    all files. ``tensor_types`` is the number of tensors of each type. ``notes`` are warnings to
    show, None: there are none of this kind of model; ``more`` are facts of the engine's own.
    """

    format: str | None
    size_bytes: int
    weights: int | None = None
    bits_per_weight: float | None = None
    tensor_bytes: int | None = None
    architecture: str | None = None
    tensors: int | None = None
    tensor_types: Mapping[str, int] | None = None
    notes: tuple[str, ...] | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

    def adding(self, *, notes: tuple[str, ...] | None = None, **more: Any) -> ModelFacts:
        """The same with ``notes`` in place of its own, and more facts."""
        told = self.notes if notes is None else notes
        return replace(self, notes=told, more={**self.more, **more})
