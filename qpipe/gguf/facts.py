"""Sizes and types of a GGUF file, written just now or found."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TypedDict

from qpipe.gguf import reader
from qpipe.gguf.types import GGMLType


class Facts(TypedDict):
    """Sizes and types of a written file.

    ``bits_per_weight`` is llama.cpp's BPW: all tensor data × 8 ÷ number of elements, norms and
    biases included, header and padding not (src/llama-quant.cpp, end of
    llama_model_quantize_impl).
    """

    architecture: str
    file_type: str
    types: dict[str, int]
    n_tensors: int
    n_weights: int
    tensor_bytes: int
    file_bytes: int
    bits_per_weight: float


class Sized(Protocol):
    """A tensor in a file, or one to be written."""

    @property
    def shape(self) -> tuple[int, ...]:
        """In numpy order."""

    @property
    def type(self) -> GGMLType:
        """In the file."""

    @property
    def nbytes(self) -> int:
        """Of data, without padding."""


def facts(tensors: Sequence[Sized], *, architecture: str, file_type: str, file_bytes: int) -> Facts:
    """`Facts` of a file with these tensors."""
    n_weights = sum(math.prod(tensor.shape) for tensor in tensors)
    tensor_bytes = sum(tensor.nbytes for tensor in tensors)
    return Facts(
        architecture=architecture,
        file_type=file_type,
        types=dict(sorted(Counter(tensor.type.name for tensor in tensors).items())),
        n_tensors=len(tensors),
        n_weights=n_weights,
        tensor_bytes=tensor_bytes,
        file_bytes=file_bytes,
        bits_per_weight=tensor_bytes * 8 / n_weights,
    )


def of_file(path: Path) -> Facts:
    """`Facts` of an existing file; `CheckpointError` if it is damaged."""
    file = reader.read(path)
    return facts(
        list(file.tensors.values()),
        architecture=file.architecture,
        file_type=file.file_type,
        file_bytes=path.stat().st_size,
    )
