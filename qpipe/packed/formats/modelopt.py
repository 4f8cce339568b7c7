"""NVIDIA's ModelOpt, as it exports for Hugging Face: whole models in one way, or each matrix in its
own (``MIXED_PRECISION``).

========  ===========================  ============================================================
          ``weight``                   ``weight_scale``
========  ===========================  ============================================================
NVFP4     U8 (rows, columns / 2)       F8_E4M3 (rows, columns / 16 or 32), and ``weight_scale_2``
                                       F32, one number by which one multiplies too
MXFP4     U8 (rows, columns / 2)       U8 (rows, columns / 32), powers of two
INT4      U8 (rows / 2, columns)       floats (rows, groups), and for W4A8 ``weight_scale_2``
FP8       F8_E4M3 (rows, columns)      F32: one number, one for each row, or for each block
                                       (blocks of rows, 1, blocks of columns, 1)
MXFP8     F8_E4M3 (rows, columns)      U8 (rows, columns / 32), powers of two
INT8      I8 (rows, columns)           F32 (rows)
========  ===========================  ============================================================

``pre_quant_scale`` (columns), of AWQ and SmoothQuant, multiplies what goes in.
Source: nvidia-modelopt 0.47, torch/export/quant_utils.py and unified_export_hf.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from qpipe.errors import CheckpointError
from qpipe.packed.fields import Fields
from qpipe.packed.formats import scaled
from qpipe.packed.formats.base import (
    Packed,
    PackedFormat,
    Tensors,
    expect,
    group_label,
    matrix,
    named,
    part,
)

_KINDS = {
    "NVFP4": "NVFP4",
    "W4A16_NVFP4": "NVFP4A16",
    "NVFP4_AWQ": "NVFP4-AWQ",
    "W4A8_NVFP4_FP8": "NVFP4A8",
    "MXFP4": "MXFP4",
    "W4A8_MXFP4_FP8": "MXFP4A8",
    "W4A16_AWQ": "W4A16-AWQ",
    "W4A8_AWQ": "W4AFP8-AWQ",
    "FP8": "FP8",
    "FP8_PER_CHANNEL_PER_TOKEN": "FP8-channel",
    "FP8_PB_WO": "FP8-block",
    "MXFP8": "MXFP8",
    "W8A8_SQ_PER_CHANNEL": "W8A8-SmoothQuant",
    "W8A16": "W8A16",
    "MIXED_PRECISION": "mixed",
}
_PRE = "pre_quant_scale"
_FLOATS = ("F16", "BF16", "F32")


class ModelOptFormat(PackedFormat):
    """``quant_algo`` says which, in ``quantization`` where it is a file of its own."""

    METHODS = ("modelopt",)

    def unread(self, config: Fields) -> str | None:
        """Another algorithm."""
        kind = _own(config).text("quant_algo").upper()
        return None if kind in _KINDS else f"the algorithm {kind}"

    def label(self, config: Fields) -> str:
        """``NVFP4``, ``FP8``, …, or ``mixed``; ``-KV-FP8`` where the cache is quantized too."""
        own = _own(config)
        kind = _KINDS[own.text("quant_algo").upper()]
        if own.has("kv_cache_quant_algo"):
            return f"{kind}-KV-{own.text('kv_cache_quant_algo').upper()}"
        if isinstance(own.values.get("kv_cache_scheme"), str):
            return f"{kind}-KV-{own.text('kv_cache_scheme').upper()}"
        cache = own.section("kv_cache_scheme")
        return f"{kind}-KV-FP{cache.bits('num_bits')}" if cache.values else kind

    def tool(self, config: Fields) -> str | None:
        """The producer, with its version."""
        maker = config.section("producer")
        if not maker.has("name"):
            return super().tool(config)
        return f"{maker.text('name')} {maker.text('version', default='')}".strip()

    def aside(self, tensors: Tensors, config: Fields) -> Iterator[str]:
        """The KV cache's scales."""
        yield from scaled.of_cache(tensors)

    def modules(self, tensors: Tensors, config: Fields) -> Iterator[Packed]:
        """Raises CheckpointError."""
        twice = _own(config).text("quant_algo").upper() == "W4A8_AWQ"
        for name in named(tensors, "weight_scale"):
            stored = part(tensors, name, "weight", ("U8", "F8_E4M3", "I8"))
            scale = tensors[f"{name}.weight_scale"]
            if stored.dtype != "U8":
                yield _one_byte(name, tensors)
            elif scale.dtype in _FLOATS:
                yield _int4(name, tensors, twice=twice)
            else:
                yield _fp4(name, tensors)


def _own(config: Fields) -> Fields:
    return config.section("quantization") if config.has("quantization") else config


def _beside(name: str, tensors: Tensors, columns: int) -> list[str]:
    own = scaled.others(name, tensors)
    if f"{name}.{_PRE}" in tensors:
        pre = part(tensors, name, _PRE, _FLOATS)
        expect(pre, (columns,), f"a matrix of {columns} columns")
        own.append(pre.name)
    return own


def _fp4(name: str, tensors: Tensors) -> Packed:
    weights, rows, pairs = matrix(tensors, name, "weight", ("U8",))
    scale = part(tensors, name, "weight_scale", ("F8_E4M3", "U8"))
    nvidia = scale.dtype == "F8_E4M3"
    kind, size = ("NVFP4", 16) if nvidia else ("MXFP4", 32)
    why = f"a matrix of {rows} × {2 * pairs} in {kind}"
    if scale.shape == (rows, 2 * pairs // 32):
        size = 32  # what ModelOpt 0.47 takes for NVFP4 of weights alone
    expect(scale, (rows, -(-2 * pairs // size)), why)
    parts = [weights.name, scale.name]
    if nvidia:
        parts.append(_whole(name, tensors, why))
    parts += _beside(name, tensors, 2 * pairs)
    return Packed(name, (rows, 2 * pairs), kind, tuple(parts), 4, size)


def _whole(name: str, tensors: Tensors, why: str) -> str:
    """The number that scales a whole matrix."""
    whole = part(tensors, name, "weight_scale_2", ("F32",))
    expect(whole, (1,) if whole.shape else (), why)
    return whole.name


def _int4(name: str, tensors: Tensors, *, twice: bool) -> Packed:
    weights, pairs, columns = matrix(tensors, name, "weight", ("U8",))
    scale, rows, count = matrix(tensors, name, "weight_scale", _FLOATS)
    size = scaled.of_groups(columns, count, ())
    if rows != 2 * pairs or size is None:
        raise CheckpointError(
            f"{scale.origin} is {list(scale.shape)}, for a matrix of {2 * pairs} × {columns}"
        )
    parts = [weights.name, scale.name]
    if twice or f"{name}.weight_scale_2" in tensors:
        parts.append(_whole(name, tensors, f"a matrix of {rows} × {columns}"))
    parts += _beside(name, tensors, columns)
    return Packed(name, (rows, columns), f"INT4-{group_label(size)}", tuple(parts), 4, size)


def _one_byte(name: str, tensors: Tensors) -> Packed:
    weights, rows, columns = matrix(tensors, name, "weight", ("F8_E4M3", "I8"))
    beside = _beside(name, tensors, columns)
    scale = part(tensors, name, "weight_scale", (*_FLOATS, "U8"))
    if len(scale.shape) != 4:
        return scaled.one_byte(name, tensors, beside=beside)
    high, one, wide, other = scale.shape
    square = 0 not in scale.shape and rows * wide == columns * high and rows % high == 0
    if (one, other) != (1, 1) or not square:
        raise CheckpointError(
            f"{scale.origin} is {list(scale.shape)}, for a matrix of {rows} × {columns}"
        )
    parts = (weights.name, scale.name, *beside)
    kind = f"FP8-{rows // high}x{columns // wide}"
    return Packed(name, (rows, columns), kind, parts, 8, None)
