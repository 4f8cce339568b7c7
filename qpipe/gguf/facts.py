"""What is known of a GGUF file after writing it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TypedDict

from qpipe.gguf.stream import Output


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


def facts(
    outputs: Sequence[Output], *, architecture: str, file_type: str, file_bytes: int
) -> Facts:
    """`Facts` of a file with these tensors."""
    n_weights = sum(math.prod(output.shape) for output in outputs)
    tensor_bytes = sum(output.nbytes for output in outputs)
    return Facts(
        architecture=architecture,
        file_type=file_type,
        types=dict(sorted(Counter(output.type.name for output in outputs).items())),
        n_tensors=len(outputs),
        n_weights=n_weights,
        tensor_bytes=tensor_bytes,
        file_bytes=file_bytes,
        bits_per_weight=tensor_bytes * 8 / n_weights,
    )
