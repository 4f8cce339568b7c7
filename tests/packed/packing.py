"""Matrices packed by hand, value by value, as each format's own tool does it; slow and plain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Change = Callable[[Array], Array]
Arrays = dict[str, Array]
Packing = tuple[Arrays, dict[str, Any]]


def same(codes: Array) -> Array:
    return codes


@dataclass(frozen=True)
class Grid:
    """``codes`` [rows, columns] from 0 up, ``zeros`` and ``scales`` [rows, groups]."""

    codes: Array
    zeros: Array
    scales: Array


def grid(w: Array, bits: int, size: int) -> Grid:
    """Rounded to the nearest between the smallest and the largest of each group."""
    rows, columns = w.shape
    groups = w.reshape(rows, columns // size, size)
    low = np.minimum(groups.min(-1), 0)
    high = np.maximum(groups.max(-1), 0)
    scales = ((high - low) / (2**bits - 1)).astype(np.float16).astype(np.float32)
    zeros = np.clip(np.rint(-low / scales), 0, 2**bits - 1).astype(np.int64)
    codes = np.rint(groups / scales[..., None]).astype(np.int64) + zeros[..., None]
    return Grid(np.clip(codes, 0, 2**bits - 1).reshape(rows, columns), zeros, scales)


def stream(values: Array, bits: int) -> Array:
    """The values of a vector in 32-bit words, one behind the other."""
    whole = sum(int(value) << (bits * at) for at, value in enumerate(values))
    count = -(-len(values) * bits // 32)
    return np.array([whole >> (32 * at) & 0xFFFFFFFF for at in range(count)], np.uint32)


def down(matrix: Array, bits: int) -> Array:
    """Each column of a matrix in words."""
    return np.stack([stream(column, bits) for column in matrix.T], -1).view(np.int32)


def gptq(
    w: Array, bits: int, size: int, change: Change = same, order: Array | None = None
) -> Packing:
    """With ``order``, columns were quantized in that order, group by group."""
    order = np.arange(w.shape[1]) if order is None else order
    made = grid(w[:, order], bits, size)
    codes = np.empty_like(made.codes)
    codes[:, order] = change(made.codes)
    group = np.empty(w.shape[1], np.int32)
    group[order] = np.arange(w.shape[1]) // size
    parts = {
        "qweight": down(codes.T, bits),
        "qzeros": down((made.zeros - 1) % 2**bits, bits).T.copy(),
        "scales": made.scales.T.astype(np.float16),
        "g_idx": group,
    }
    return parts, {"quant_method": "gptq", "bits": bits, "group_size": size, "desc_act": True}


def awq(w: Array, bits: int, size: int, change: Change = same) -> Packing:
    made = grid(w, bits, size)

    def across(matrix: Array) -> Array:  # rows of a column in words, in AWQ's order
        each = 32 // bits
        order = [0, 2, 4, 6, 1, 3, 5, 7] if bits == 4 else list(range(each))
        mixed = matrix.reshape(matrix.shape[0], -1, each)[:, :, order]
        return down(mixed.reshape(matrix.shape[0], -1).T, bits).T.copy()

    parts = {
        "qweight": across(change(made.codes).T),
        "qzeros": across(made.zeros.T),
        "scales": made.scales.T.astype(np.float16),
    }
    return parts, {"quant_method": "awq", "bits": bits, "group_size": size, "version": "gemm"}


def gemv(w: Array, bits: int, size: int, change: Change = same) -> Packing:
    made = grid(w, bits, size)
    each, groups = 32 // bits, w.shape[1] // size
    width = -(-groups // each)
    width = -(-width // {64: 2, 32: 4}.get(size, 1)) * {64: 2, 32: 4}.get(size, 1)
    padded = np.zeros((2, len(w), width * each))
    padded[0, :, :groups], padded[1, :, :groups] = made.zeros, made.scales
    parts = {
        "qweight": down(change(made.codes).T, bits).T.copy(),
        "qzeros": down(padded[0].astype(np.int64).T, bits).T.copy(),
        "scales": padded[1].astype(np.float16),
    }
    return parts, {"quant_method": "awq", "bits": bits, "group_size": size, "version": "gemv"}


def compressed(w: Array, bits: int, size: int, change: Change = same) -> Packing:
    made = grid(w, bits, size)
    parts = {
        "weight_packed": down(change(made.codes).T, bits).T.copy(),
        "weight_scale": made.scales.astype(np.float16),
        "weight_shape": np.array(w.shape, np.int64),
        "weight_zero_point": down(made.zeros, bits),
    }
    group = {"weights": {"num_bits": bits, "group_size": size}, "input_activations": None}
    return parts, {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}}


def int8(w: Array, bits: int, size: int, change: Change = same) -> Packing:
    """LLM.int8() of bitsandbytes."""
    largest = np.abs(w).max(-1)
    codes = np.rint(w * 127 / largest[:, None]).astype(np.int64)
    parts = {"weight": change(codes + 128).astype(np.int64) - 128, "SCB": largest}
    stored = {"weight": parts["weight"].astype(np.int8), "SCB": largest.astype(np.float32)}
    return stored, {"quant_method": "bitsandbytes", "load_in_8bit": True}


def torchao(w: Array, bits: int, size: int, change: Change = same) -> Packing:
    scale = np.abs(w).max(-1, keepdims=True) / 127.5
    codes = np.clip(np.rint(w / scale), -128, 127).astype(np.int64)
    parts = {
        "_weight_qdata": (change(codes + 128) - 128).astype(np.int8),
        "_weight_scale": scale.astype(np.float32),
    }
    kind = {"default": {"_type": "Int8WeightOnlyConfig"}}
    return parts, {"quant_method": "torchao", "quant_type": kind}


def _e4m3(code: int) -> float:
    sign, exponent, mantissa = code >> 7, code >> 3 & 15, code & 7
    size = (mantissa / 8) * 2.0**-6 if exponent == 0 else (1 + mantissa / 8) * 2.0 ** (exponent - 7)
    return -size if sign else size


_E4M3 = {code: _e4m3(code) for code in range(256) if code & 127 != 127}
_E2M1 = dict(enumerate([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6]))


def _coded(numbers: Array, table: dict[int, float]) -> Array:
    """The code of the nearest number."""
    codes, values = np.array([*table]), np.array([*table.values()])
    nearest: Array = codes[np.abs(numbers[..., None] - values).argmin(-1)]
    return nearest


def _float_config(bits: int, size: int, **weights: Any) -> dict[str, Any]:
    said = {"num_bits": bits, "type": "float", "group_size": size, **weights}
    groups = {"group_0": {"weights": said, "input_activations": None}}
    return {"quant_method": "compressed-tensors", "config_groups": groups}


def fp8(w: Array, bits: int, size: int, change: Change = same) -> Packing:
    """A scale for each row."""
    scale = np.abs(w).max(-1, keepdims=True) / 448
    codes = change(_coded(w / scale, _E4M3)).astype(np.uint8).view(np.bool_)
    parts = {"weight": codes, "weight_scale": scale.astype(np.float32)}
    return parts, _float_config(8, -1)


def fp8_block(w: Array, bits: int, size: int, change: Change = same) -> Packing:
    """Blocks of 32 × 64."""
    blocks = w.reshape(len(w) // 32, 32, -1, 64)
    scale = np.abs(blocks).max((1, 3)) / 448
    numbers = (blocks / scale[:, None, :, None]).reshape(w.shape)
    codes = change(_coded(numbers, _E4M3)).astype(np.uint8).view(np.bool_)
    parts = {"weight": codes, "weight_scale": scale.astype(np.float32)}
    return parts, _float_config(8, -1, strategy="block", block_structure=[32, 64])


def _powers(groups: Array, most: float) -> Array:
    """Exponents of two, with which the largest of a group reaches between half of it and it."""
    powers: Array = np.ceil(np.log2(np.abs(groups).max(-1) / most))
    return powers


def mxfp8(w: Array, bits: int, size: int, change: Change = same) -> Packing:
    groups = w.reshape(len(w), -1, 32)
    powers = _powers(groups, 448)
    codes = change(_coded((groups / 2 ** powers[..., None]).reshape(w.shape), _E4M3))
    parts = {
        "weight": codes.astype(np.uint8).view(np.bool_),
        "weight_scale": (powers + 127).astype(np.uint8),
    }
    return parts, _float_config(8, 32, scale_dtype="torch.uint8")


def mxfp4(w: Array, bits: int, size: int, change: Change = same) -> Packing:
    groups = w.reshape(len(w), -1, 32)
    powers = _powers(groups, 6)
    codes = change(_coded((groups / 2 ** powers[..., None]).reshape(w.shape), _E2M1))
    parts = {
        "weight_packed": (codes[:, ::2] | codes[:, 1::2] << 4).astype(np.uint8),
        "weight_scale": (powers + 127).astype(np.uint8),
    }
    return parts, _float_config(4, 32)


def nvfp4(w: Array, bits: int, size: int, change: Change = same) -> Packing:
    whole = 448 * 6 / np.abs(w).max()
    groups = w.reshape(len(w), -1, 16)
    stored = _coded(np.abs(groups).max(-1) / 6 * whole, _E4M3)
    scale = np.vectorize(_e4m3)(stored) / whole
    codes = change(_coded((groups / scale[..., None]).reshape(w.shape), _E2M1))
    parts = {
        "weight_packed": (codes[:, ::2] | codes[:, 1::2] << 4).astype(np.uint8),
        "weight_scale": stored.astype(np.uint8).view(np.bool_),
        "weight_global_scale": np.array([whole], np.float32),
    }
    return parts, _float_config(4, 16)
