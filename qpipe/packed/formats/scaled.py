"""Matrices as numbers of four or eight bits beside scales, as several tools store them alike.

Eight bits: ``weight`` I8 or F8_E4M3 (rows, columns) and scales for the matrix (1), for each row
(rows) or (rows, 1), for groups of a row (rows, groups), or for blocks (blocks of rows, blocks of
columns); of MXFP8 they are U8, a power of two each. Four bits: ``weight_packed`` U8 (rows,
columns / 2) with scales (rows, groups): F8_E4M3 in groups of 16 and ``weight_global_scale`` F32 (1)
are NVFP4, U8 in groups of 32 MXFP4.
Source: compressed_tensors 0.19, compressors/naive_quantized, nvfp4, mxfp4 and mxfp8; transformers
5.17, integrations/finegrained_fp8.py.
"""

from __future__ import annotations

from collections.abc import Iterable

from qpipe.errors import CheckpointError
from qpipe.gguf.safetensors import StoredTensor
from qpipe.packed.formats.base import Packed, Tensors, expect, group_label, matrix, part

_FLOATS = ("F16", "BF16", "F32")
_POWERS = ("U8", "F8_E8M0")
_BYTES = {"I8": "INT8", "F8_E4M3": "FP8", "F8_E5M2": "FP8-e5m2"}
# What belongs to a module beside its weights and their scales.
_BESIDE = (
    "weight_zero_point", "weight_g_idx", "input_scale", "input_zero_point", "input_global_scale",
    "output_scale", "output_zero_point", "activation_scale",
)  # fmt: skip
_KV = ("q_scale", "k_scale", "v_scale", "q_zero_point", "k_zero_point", "v_zero_point")


def one_byte(
    name: str,
    tensors: Tensors,
    *,
    scales: str = "weight_scale",
    sizes: Iterable[int] = (),
    block: tuple[int, int] | None = None,
    beside: Iterable[str] | None = None,
) -> Packed:
    """A matrix with a byte for each weight. ``sizes`` are the group sizes that the config names,
    ``block`` its blocks, ``beside`` its other tensors where they are not those of `others`. Raises
    CheckpointError."""
    weights, rows, columns = matrix(tensors, name, "weight", tuple(_BYTES))
    scale = part(tensors, name, scales, (*_FLOATS, *_POWERS))
    kind = _BYTES[weights.dtype]
    if scale.dtype in _POWERS and "FP8" in kind and block is None:
        kind = "MXFP8"
    shared, size = _shared(scale, rows, columns, sizes, block)
    more = others(name, tensors) if beside is None else beside
    parts = (weights.name, scale.name, *more)
    return Packed(name, (rows, columns), f"{kind}{shared}", parts, 8, size)


def half_byte(name: str, tensors: Tensors) -> Packed:
    """A matrix of four-bit floats. Raises CheckpointError."""
    weights, rows, pairs = matrix(tensors, name, "weight_packed", ("U8",))
    scale = part(tensors, name, "weight_scale", ("F8_E4M3", *_POWERS))
    nvidia = scale.dtype == "F8_E4M3"
    kind, size = ("NVFP4", 16) if nvidia else ("MXFP4", 32)
    why = f"a matrix of {rows} × {2 * pairs} in {kind}"
    expect(scale, (rows, -(-2 * pairs // size)), why)
    parts = [weights.name, scale.name]
    if nvidia:
        whole = part(tensors, name, "weight_global_scale", ("F32",))
        expect(whole, (1,), why)
        parts.append(whole.name)
    return Packed(name, (rows, 2 * pairs), kind, (*parts, *others(name, tensors)), 4, size)


def others(name: str, tensors: Tensors) -> list[str]:
    """Names of a module's other tensors: zero points, and scales of what goes in and out."""
    return [f"{name}.{suffix}" for suffix in _BESIDE if f"{name}.{suffix}" in tensors]


def of_cache(tensors: Tensors) -> Iterable[str]:
    """The scales of a quantized KV cache: numbers that stand for no weights."""
    return (name for name in tensors if name.endswith(tuple(f".{suffix}" for suffix in _KV)))


def _shared(
    scale: StoredTensor,
    rows: int,
    columns: int,
    sizes: Iterable[int],
    block: tuple[int, int] | None,
) -> tuple[str, int | None]:
    """Return how weights share scales: a suffix of the type's name, and the group size."""
    if scale.shape in ((), (1,), (1, 1)) and (rows > 1 or block is None):
        return "-tensor", None
    if block is not None:
        high, wide = block
        why = f"a matrix of {rows} × {columns} in blocks of {high} × {wide}"
        expect(scale, (-(-rows // high), -(-columns // wide)), why)
        return f"-{high}x{wide}", None
    if scale.shape in ((rows,), (rows, 1)):
        return "", -1
    count = scale.shape[1] if len(scale.shape) == 2 and scale.shape[0] == rows else 0
    size = of_groups(columns, count, sizes)
    if size is None:
        raise CheckpointError(
            f"{scale.origin} is {list(scale.shape)}, for a matrix of {rows} × {columns}"
        )
    return ("", size) if scale.dtype in _POWERS else (f"-{group_label(size)}", size)


def of_groups(columns: int, count: int, sizes: Iterable[int]) -> int | None:
    """The size of ``count`` groups in a row: one of ``sizes``, else one that divides it; -1 for
    one group, None where there is none."""
    if count == 1:
        return -1
    fitting = (size for size in sizes if size > 0 and -(-columns // size) == count)
    return next(fitting, columns // count if count > 0 and columns % count == 0 else None)
