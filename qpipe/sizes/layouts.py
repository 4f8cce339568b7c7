"""The tensors in which each format holds a matrix of rows × columns: (suffix, dtype, shape).

What they are, qpipe/packed/formats/ tells, which reads them; here is what engines write.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from qpipe.packed.formats.base import groups

Part = tuple[str, str, tuple[int, ...]]
Parts = Iterator[Part]

_DIGITS = 17  # of a number in single precision, written out


def gptq(rows: int, columns: int, *, bits: int, size: int, dtype: str, order: bool = True) -> Parts:
    """GPTQ's, with the group of each column where ``order``."""
    count = groups(columns, size)
    yield "qweight", "I32", (-(-columns * bits // 32), rows)
    yield "qzeros", "I32", (count, -(-rows * bits // 32))
    yield "scales", dtype, (count, rows)
    if order:
        yield "g_idx", "I32", (columns,)


def awq_gemm(rows: int, columns: int, *, bits: int, size: int, dtype: str) -> Parts:
    """AutoAWQ's GEMM."""
    count = groups(columns, size)
    yield "qweight", "I32", (columns, -(-rows * bits // 32))
    yield "qzeros", "I32", (count, -(-rows * bits // 32))
    yield "scales", dtype, (count, rows)


def awq_gemv(rows: int, columns: int, *, bits: int, size: int, dtype: str) -> Parts:
    """AutoAWQ's GEMV (awq/modules/linear/gemv.py, ``calculate_zeros_width``)."""
    wide = {128: 1, 64: 2, 32: 4}.get(size if size != -1 else 128, 1)
    words = -(-groups(columns, size) // (32 // bits))
    width = -(-words // wide) * wide
    yield "qweight", "I32", (rows, -(-columns * bits // 32))
    yield "qzeros", "I32", (rows, width)
    yield "scales", dtype, (rows, width * 32 // bits)


def packed_integers(
    rows: int, columns: int, *, bits: int, size: int, dtype: str, zeros: bool
) -> Parts:
    """compressed-tensors' pack-quantized."""
    count = groups(columns, size)
    yield "weight_packed", "I32", (rows, -(-columns * bits // 32))
    yield "weight_scale", dtype, (rows, count)
    yield "weight_shape", "I64", (2,)
    if zeros:
        yield "weight_zero_point", "I32", (-(-rows * bits // 32), count)


def bytes_by_row(rows: int, columns: int, *, kind: str, dtype: str) -> Parts:
    """compressed-tensors' int-quantized and float-quantized, with a scale for each row."""
    yield "weight", kind, (rows, columns)
    yield "weight_scale", dtype, (rows, 1)


def bytes_by_block(rows: int, columns: int, *, dtype: str, block: int = 128) -> Parts:
    """FP8 in blocks."""
    yield "weight", "F8_E4M3", (rows, columns)
    yield "weight_scale", dtype, (-(-rows // block), -(-columns // block))


def bytes_by_tensor(rows: int, columns: int, *, dtype: str) -> Parts:
    """FP8 with one scale for the matrix, and one for its inputs."""
    yield "weight", "F8_E4M3", (rows, columns)
    yield "weight_scale", dtype, (1,)
    yield "input_scale", dtype, (1,)


def bytes_by_row_and_inputs(rows: int, columns: int, *, dtype: str) -> Parts:
    """auto-round's FP8_STATIC: a scale for each row, and one for all inputs."""
    yield from bytes_by_row(rows, columns, kind="F8_E4M3", dtype=dtype)
    yield "input_scale", dtype, (1,)


def mxfp8(rows: int, columns: int) -> Parts:
    """compressed-tensors' mxfp8-quantized."""
    yield "weight", "F8_E4M3", (rows, columns)
    yield "weight_scale", "U8", (rows, groups(columns, 32))


def mxfp4(rows: int, columns: int) -> Parts:
    """compressed-tensors' mxfp4-pack-quantized."""
    yield "weight_packed", "U8", (rows, columns // 2)
    yield "weight_scale", "U8", (rows, groups(columns, 32))


def nvfp4(rows: int, columns: int, *, inputs: bool) -> Parts:
    """compressed-tensors' nvfp4-pack-quantized; with ``inputs`` activations are rounded too."""
    yield "weight_packed", "U8", (rows, columns // 2)
    yield "weight_scale", "F8_E4M3", (rows, groups(columns, 16))
    yield "weight_global_scale", "F32", (1,)
    if inputs:
        yield "input_global_scale", "F32", (1,)


def torchao(rows: int, columns: int) -> Parts:
    """torchao's eight bits."""
    yield "_weight_qdata", "I8", (rows, columns)
    yield "_weight_scale", "F32", (rows, 1)
    yield "_weight_zero_point", "I8", (rows, 1)


def bitsandbytes_4bit(rows: int, columns: int, *, kind: str, double: bool, dtype: str) -> Parts:
    """NF4 and FP4 in blocks of 64; doubly quantized, their scales are in blocks of 256."""
    count = rows * columns
    scales = -(-count // 64)
    yield "weight", "U8", (-(-count // 2), 1)
    yield "weight.absmax", "U8" if double else "F32", (scales,)
    yield "weight.quant_map", "F32", (16,)
    if double:
        yield "weight.nested_absmax", "F32", (-(-scales // 256),)
        yield "weight.nested_quant_map", "F32", (256,)
    state = {"quant_type": kind, "blocksize": 64, "dtype": dtype, "shape": [rows, columns]}
    if double:
        # The offset is a mean of scales: most have so many digits.
        state |= {"nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": 0.0}
    length = len(json.dumps(state)) + (_DIGITS if double else 0)
    yield f"weight.quant_state.bitsandbytes__{kind}", "U8", (length,)


def bitsandbytes_8bit(rows: int, columns: int) -> Parts:
    """LLM.int8()."""
    yield "SCB", "F32", (rows,)
    yield "weight", "I8", (rows, columns)
    yield "weight_format", "U8", ()
