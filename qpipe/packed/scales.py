"""The scales of packed matrices, which headers say nothing of: a few bytes, and each spoils as many
weights as share it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from qpipe.errors import CheckpointError
from qpipe.gguf.rows import bf16_to_f32
from qpipe.gguf.safetensors import StoredTensor
from qpipe.packed.structure import Structure
from qpipe.packed.write import stored

# Ends of the names of numbers that others are multiplied with, or divided by.
_ENDS = ("scales", "_scale", "_scale_inv", "_scale_2", "absmax", ".SCB")
# In these types a scale is a number; in others, such as an absmax of U8, the code of one.
_FLOATS = {"F32": "<f4", "F16": "<f2"}
# An exponent of two, of which 255 is no number (OCP Microscaling Formats 1.0, 5.4.1).
_POWERS = ("U8", "F8_E8M0")
_MICRO = ("MXFP4", "MXFP8")
# Floats have a sign of their own, so that no tool makes a negative scale of them.
_SIGNED = ("FP8", "NVFP4")


def check(contents: Structure) -> None:
    """Raise CheckpointError for a scale that is not finite, or negative where weights are floats,
    and for a matrix of which all scales are 0. Reads every byte of the scales, and no others."""
    for module in contents.modules.values():
        for part in module.parts:
            if part.endswith(_ENDS):
                _check(contents.tensors[part], micro=module.type.startswith(_MICRO), nulls=True)
                if module.type.startswith(_SIGNED):
                    _refuse_negative(contents.tensors[part])
    for name in sorted(contents.aside):
        if name.endswith(_ENDS):
            _check(contents.tensors[name], micro=False, nulls=False)


def _check(tensor: StoredTensor, *, micro: bool, nulls: bool) -> None:
    known = some = False
    for bad, positive in _read(tensor, micro=micro):
        if bad:
            number = "1 scale that is" if bad == 1 else f"{bad} scales that are"
            raise CheckpointError(
                f"{tensor.origin}: holds {number} not finite, and nor is what they scale: the "
                "checkpoint is damaged or was made wrongly; get or make it again"
            )
        known, some = True, some or positive
    if nulls and known and not some:
        raise CheckpointError(
            f"{tensor.origin}: all of its scales are 0, so that nothing is left of what they "
            "scale: the checkpoint is damaged or was made wrongly; get or make it again"
        )


def _refuse_negative(tensor: StoredTensor) -> None:
    for piece in stored(tensor):
        if tensor.dtype == "F8_E4M3":
            below = bool((np.frombuffer(piece, np.uint8) > 0x80).any())
        elif tensor.dtype in _FLOATS or tensor.dtype == "BF16":
            below = bool((_floats(piece, tensor.dtype) < 0).any())
        else:
            return
        if below:
            raise CheckpointError(
                f"{tensor.origin}: holds a negative scale, which would turn the sign of weights: "
                "the checkpoint is damaged or was made wrongly; get or make it again"
            )


def _read(tensor: StoredTensor, *, micro: bool) -> Iterator[tuple[int, bool]]:
    """Yield of each piece how many scales are not finite, and whether any is not 0."""
    for piece in stored(tensor):
        if tensor.dtype in _FLOATS or tensor.dtype == "BF16":
            floats = _floats(piece, tensor.dtype)
            yield int(np.count_nonzero(~np.isfinite(floats))), bool(floats.any())
        elif tensor.dtype == "F8_E4M3":  # it has no infinity, and one NaN of each sign
            codes = np.frombuffer(piece, np.uint8) & 0x7F
            yield int(np.count_nonzero(codes == 0x7F)), bool(codes.any())
        elif micro and tensor.dtype in _POWERS:
            yield int(np.count_nonzero(np.frombuffer(piece, np.uint8) == 0xFF)), True


def _floats(piece: bytes, dtype: str) -> npt.NDArray[np.floating]:
    if dtype == "BF16":
        return bf16_to_f32(np.frombuffer(piece, np.uint16))
    return np.frombuffer(piece, _FLOATS[dtype])
