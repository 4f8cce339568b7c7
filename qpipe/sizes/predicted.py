"""What is predicted of a model in a format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from qpipe.gguf.types import GGMLType


@dataclass(frozen=True)
class PredictedSize:
    """A model in ``format``: the bytes of its file, or of all files with weights, and those of its
    tensors alone; the ``weights`` that these stand for.

    All counted as `qpipe.results.model.ModelFacts` counts what was made: in GGUF, where one matrix
    can be written twice, elements of tensors; of packed checkpoints the model's own weights, once.
    ``notes`` tell what was assumed. ``tensors`` are the bytes by the name of a tensor in GGUF, or
    of a checkpoint, where experts of a layer count together (``experts.*``), ``kinds`` the types of
    those in GGUF.
    """

    format: str
    file_bytes: int
    tensor_bytes: int
    weights: int
    notes: tuple[str, ...] = ()
    tensors: Mapping[str, int] = field(default_factory=dict, repr=False, compare=False)
    kinds: Mapping[str, GGMLType] = field(default_factory=dict, repr=False, compare=False)

    @property
    def bits_per_weight(self) -> float:
        """Bits of tensors, scales and the like too, over weights; header and vocabulary not."""
        return 8 * self.tensor_bytes / self.weights
