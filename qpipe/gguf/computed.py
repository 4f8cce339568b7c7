"""Tensors that a checkpoint holds in another form: computed from it, some rows at a time."""

from __future__ import annotations

import abc
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qpipe.gguf.safetensors import StoredTensor
from qpipe.gguf.types import GGMLType


@dataclass(frozen=True)
class ComputedTensor(StoredTensor, abc.ABC):
    """A tensor as a model has it, of ``shape`` and ``dtype``: the precision that its numbers are
    rounded to. ``path`` is where the first of the stored tensors lies that it is made of,
    ``offset`` has no meaning, and ``nbytes`` are those that it would take."""

    @property
    def kept(self) -> GGMLType | None:
        """The type of a GGUF file that has just the same numbers, which `raw` delivers."""
        return None

    @abc.abstractmethod
    def floats(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Rows ``start`` to ``stop`` (not included) of the matrix [product of all dimensions but
        the last, last] as float32. Raises CheckpointError for what only the numbers tell."""

    def raw(self, start: int, stop: int) -> npt.NDArray[np.uint8]:
        """The same rows as blocks of the type `kept`, [rows, bytes per row]."""
        raise NotImplementedError
