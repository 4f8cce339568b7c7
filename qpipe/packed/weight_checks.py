"""What of a source's numbers no scale can be made of: asked before they are quantized, since tools
write something all the same. And scales that a tool made of a text, which may be none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from qpipe.errors import CheckpointError
from qpipe.gguf.checkpoint import read_tensors
from qpipe.gguf.safetensors import StoredTensor
from qpipe.packed.values.base import floats, mapped

FLOATS = ("BF16", "F16", "F32")
# Bits of a number but for its sign, and those of its exponent, of which all are set in a NaN and in
# an infinite number.
_BITS: Mapping[str, tuple[str, int, int]] = {
    "BF16": ("<u2", 0x7FFF, 0x7F80),
    "F16": ("<u2", 0x7FFF, 0x7C00),
    "F32": ("<u4", 0x7FFFFFFF, 0x7F800000),
}
# The largest of a matrix, as bits. llm-compressor 0.14 keeps scales in the precision of weights: a
# 448th of a smaller one has five bits or fewer in FP16, or is 0.
_LEAST_F16 = int(np.float16(2.0**-10).view(np.uint16))
_ROWS_OF = 1 << 22  # weights at a time
# Scales of all activations of a module, of a whole matrix, and of keys and values.
_WHOLE = ("input_scale", "input_global_scale", "weight_global_scale", "k_scale", "v_scale")


def refuse_integers(tensors: Iterable[StoredTensor]) -> None:
    """Raise CheckpointError for a matrix that is not of floats of 16 or 32 bits."""
    for tensor in tensors:
        if tensor.dtype not in FLOATS:
            raise CheckpointError(
                f"{tensor.origin} is {tensor.dtype}, and a matrix to be quantized has to be "
                f"{', '.join(FLOATS)}: give the checkpoint before quantization, or leave it alone: "
                f"quantize.modules={{{tensor.name.split('.')[-2]}: skip}}"
            )


def refuse_unscalable(tensors: Iterable[StoredTensor]) -> None:
    """Raise CheckpointError for a matrix that holds a NaN or an infinite number, or one of FP16
    whose scales FP16 cannot hold. Reads all of them, some rows at a time.

    A row, group or matrix of zeros is none: its scale is a small number, and it comes out as zeros.
    """
    for tensor in tensors:
        _, sizes, exponents = _BITS[tensor.dtype]
        largest = 0
        for bits in _strips(tensor):
            largest = max(largest, int((bits & sizes).max(initial=0)))
        if largest >= exponents:
            kind = "an infinite number" if largest == exponents else "NaN"
            raise CheckpointError(
                f"{tensor.origin} holds {kind}, which has no scale and would spoil those beside it "
                "in silence: download the checkpoint again, or give one that is whole"
            )
        if tensor.dtype == "F16" and 0 < largest < _LEAST_F16:
            most = float(np.uint16(largest).view(np.float16))
            raise CheckpointError(
                f"{tensor.origin}: its largest weight is {most:.3g}, and FP16 cannot hold its "
                "scale: make it bfloat16 first (quantize=none quantize.dtype=bf16), and take that"
            )


def refuse_scales(folder: Path) -> None:
    """Raise CheckpointError for a scale of activations, of a cache or of a whole matrix in
    ``folder`` that is 0, negative, NaN or infinite."""
    for name, tensor in read_tensors(folder).items():
        if name.rpartition(".")[2] in _WHOLE and tensor.dtype in FLOATS:
            scales = floats(tensor).reshape(-1)
            wrong = scales[~(np.isfinite(scales) & (scales > 0))]
            if wrong.size:
                raise CheckpointError(
                    f"{tensor.origin} is {float(wrong[0]):g}, by which nothing can be scaled: the "
                    "calibration text gave this module no numbers of use; take more of it, or "
                    "another (calibration.text)"
                )


def _strips(tensor: StoredTensor) -> Iterator[npt.NDArray[np.unsignedinteger]]:
    """The bits of a matrix, some rows at a time."""
    rows, columns = tensor.shape
    stored = mapped(tensor)
    step = max(1, _ROWS_OF // max(1, columns))
    for first in range(0, rows, step):
        strip = np.ascontiguousarray(stored[first : first + step])
        yield strip.view(_BITS[tensor.dtype][0])
