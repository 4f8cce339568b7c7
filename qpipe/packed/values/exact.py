"""Which function computes a packed matrix just as its own library does, and the precision that the
library rounds to: everything is multiplied in float32, and rounded once.

GPTQModel 7.6, AutoAWQ and compressed-tensors 0.19 multiply in the precision of the scales, and
products of their codes and scales are exact in float32; compressed-tensors gives bfloat16 out of
E2M1 and out of powers of two. transformers 5.17 and ModelOpt round FP8 in blocks, NVFP4 and MXFP4
to what the model is in, bfloat16. bitsandbytes notes the precision, and has float32 for eight bits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from qpipe.errors import CheckpointError
from qpipe.packed.formats.base import Packed, Tensors, content
from qpipe.packed.values import awq, bitsandbytes, compressed, gptq, half_byte, one_byte
from qpipe.packed.values.base import FloatArray, Strip
from qpipe.packed.values.rounding import rounded

Read = Callable[[Strip], FloatArray]
Exact = tuple[Read, str]

_TORCH = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}
_FLOATS = ("F16", "BF16", "F32")


def exact(module: Packed, tensors: Tensors, config: Mapping[str, Any], method: str) -> Exact | None:
    """(the function, the dtype that it rounds to) for a matrix of a checkpoint of this
    ``quantization_config``; None of what is not known. Raises CheckpointError for a damaged note of
    its own."""
    known = _unrounded(module, tensors, config, method)
    if known is None:
        return None
    read, dtype = known
    if read is one_byte.read and dtype != "F16":
        return (lambda part: one_byte.read_rounded(part, dtype)), dtype
    return (lambda part: rounded(read(part), dtype)), dtype


def _unrounded(
    module: Packed, tensors: Tensors, config: Mapping[str, Any], method: str
) -> Exact | None:
    if method == "auto-round":
        method = "awq" if "awq" in str(config.get("packing_format")) else "gptq"
    if method in ("gptq", "awq"):
        return None if gptq.in_planes(config) else _grid(module, tensors, method)
    if method == "bitsandbytes":
        return _bitsandbytes(module, tensors)
    if method == "compressed-tensors":
        return _compressed(module, tensors)
    if method == "modelopt" and not _is_plain(module):
        return None
    if method in ("fp8", "modelopt", "mxfp4"):
        packed = tensors[module.parts[0]].dtype == "U8"
        return half_byte.read if packed else one_byte.read, "BF16"
    return None


def _is_plain(module: Packed) -> bool:
    """True of a matrix of ModelOpt that is no more than numbers and scales as others have them: its
    AWQ and SmoothQuant scale what goes in too, and INT4 and blocks lie as nobody else's."""
    scaled_input = any(part.endswith(".pre_quant_scale") for part in module.parts)
    return not scaled_input and not module.type.startswith("INT4") and "x" not in module.type


def _grid(module: Packed, tensors: Tensors, method: str) -> Exact | None:
    scales = tensors.get(f"{module.name}.scales")
    if scales is None or scales.dtype not in _FLOATS:
        return None
    if method == "gptq":
        return (lambda part: gptq.read(part).numbers), scales.dtype
    first, zeros = tensors[module.parts[0]], tensors.get(f"{module.name}.qzeros")
    words = first.dtype == "I32" and zeros is not None and zeros.dtype == "I32"
    known = words and module.bits in (4, 8)  # GEMM and GEMV
    return ((lambda part: awq.read(part).numbers), scales.dtype) if known else None


def _bitsandbytes(module: Packed, tensors: Tensors) -> Exact | None:
    if f"{module.name}.SCB" in tensors:
        return _of_bitsandbytes, "F32"
    notes = [name for name in module.parts if ".quant_state.bitsandbytes__" in name]
    if not notes or len(module.shape) != 2:
        return None
    state = json.loads(content(tensors[notes[0]]))
    dtype = _TORCH.get(str(state.get("dtype")))
    if dtype is None:
        raise CheckpointError(
            f"{tensors[notes[0]].origin}: names the precision {state.get('dtype')!r:.40}, not "
            f"{', '.join(_TORCH)}"
        )
    return _of_bitsandbytes, dtype


def _of_bitsandbytes(part: Strip) -> FloatArray:
    return bitsandbytes.read(part).numbers.reshape(part.stop - part.first, -1)


def _compressed(module: Packed, tensors: Tensors) -> Exact | None:
    stored, scale = (tensors[name] for name in (module.parts[0], f"{module.name}.weight_scale"))
    if stored.dtype == "U8":
        return half_byte.read, "BF16"
    if stored.dtype != "I32":
        return one_byte.read, scale.dtype if scale.dtype in _FLOATS else "BF16"
    words = -(-module.shape[-1] * module.bits // 32)
    if stored.shape[-1] != words:
        return None  # of compressed-tensors before 0.13, which left bits of words empty
    return (lambda part: compressed.read(part).numbers), scale.dtype
