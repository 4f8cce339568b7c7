"""Which layout a packed matrix has, and which of its rows are looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from qpipe.packed.formats.base import Packed, Tensors
from qpipe.packed.values import awq, bitsandbytes, compressed, gptq, small_floats, torchao
from qpipe.packed.values.base import ALIGNED, Strip, Values

Read = Callable[[Strip], Values]

_STORED = ("I8", "I32", "U8")
# Who stores floats of eight and four bits as compressed-tensors does.
_FLOATS = ("auto-round", "compressed-tensors", "fp8", "modelopt")


def reader(module: Packed, tensors: Tensors, config: Mapping[str, Any]) -> Read | None:
    """The function that reads a matrix's numbers; None for EXL2, for experts in one tensor, and for
    what is not known."""
    method = config.get("quant_method")
    if method in _FLOATS and tensors[module.parts[0]].dtype in small_floats.DTYPES:
        return small_floats.read if len(module.shape) == 2 else None
    if method == "auto-round":
        method = "awq" if "awq" in str(config.get("packing_format")) else "gptq"
    layouts: dict[object, tuple[Read, str]] = {
        "gptq": (gptq.read, "qweight"),
        "awq": (awq.read, "qweight"),
        "bitsandbytes": (bitsandbytes.read, "weight"),
        "torchao": (torchao.read, "_weight_qdata"),
        "compressed-tensors": (compressed.read, "weight"),
    }
    read, suffix = layouts.get(method, (None, ""))
    if read is compressed.read and f"{module.name}.weight_packed" in tensors:
        suffix = "weight_packed"
    stored = tensors.get(f"{module.name}.{suffix}")
    if stored is None or stored.dtype not in _STORED or module.group_size is None:
        return None
    if read is torchao.read and stored.dtype != "I8":
        return None
    if read is gptq.read and gptq.in_planes(config):
        return None
    if read is awq.read and f"{module.name}.qzeros" not in tensors:
        return None  # Marlin's
    if suffix == "weight_packed" and stored.shape[-1] != -(-module.shape[-1] * module.bits // 32):
        return None  # of compressed-tensors before 0.13, which left bits of words empty
    return read if module.bits in (2, 3, 4, 5, 6, 7, 8) else None


def strips(rows: int, columns: int, *, most: int) -> Iterator[tuple[int, int]]:
    """All rows, if that are ``most`` weights or fewer, or some at the beginning, in the middle and
    at the end."""
    if rows * columns <= most or rows <= 3 * ALIGNED:
        yield 0, rows
        return
    each = max(1, most // (3 * columns * ALIGNED)) * ALIGNED
    last = (rows - 1) // ALIGNED * ALIGNED
    for first in (0, last // 2 // ALIGNED * ALIGNED, max(0, last - each + ALIGNED)):
        yield first, min(rows, first + each)
