"""compressed-tensors, which llm-compressor writes and vLLM reads first of all.

``pack-quantized``: ``weight_packed`` I32 (rows, words), ``weight_scale`` (rows, groups),
``weight_shape`` (2), and where there are zero points ``weight_zero_point`` (words of rows, groups).
Values lie densely, the bits of a row one after the other; versions before 0.13 left those of a word
empty that hold no whole value, which makes a difference for 3, 5, 6 and 7 bits.
The other formats are those of `qpipe.packed.formats.scaled`.
Source: compressed_tensors 0.19, compressors/pack_quantized/helpers.py and config/base.py.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace

from qpipe.errors import CheckpointError
from qpipe.packed.fields import Fields
from qpipe.packed.formats import scaled
from qpipe.packed.formats.base import (
    Packed,
    PackedFormat,
    Tensors,
    content,
    expect,
    group_label,
    groups,
    matrix,
    named,
    part,
)

_SCALES = ("F16", "BF16", "F32")
READ = (
    "dense", "pack-quantized", "int-quantized", "float-quantized", "naive-quantized",
    "nvfp4-pack-quantized", "mxfp4-pack-quantized", "mxfp8-quantized", "mixed-precision",
)  # fmt: skip
"""The formats that are read."""

UNREAD = ("sparse-bitmask", "sparse-24-bitmask", "marlin-24")
"""Formats without the zeros, of 2023 to 2025: compressed-tensors 0.19 names them, and has nothing
that reads them."""


class CompressedTensorsFormat(PackedFormat):
    """Integers and floats, packed or not; the KV cache alone too."""

    METHODS = ("compressed-tensors",)

    def unread(self, config: Fields) -> str | None:
        """A format that is not among those above, of weights or of zeros left out."""
        sparse = config.section("sparsity_config").text("format", default="dense")
        named = [config.text("format", default="dense"), sparse]
        named += [group.text("format", default="dense") for group in _groups(config)]
        return next((f"the format {name}" for name in named if name not in READ), None)

    def label(self, config: Fields) -> str:
        """``W4A16-g128``, ``W8A8``, ``FP8-dynamic``, ``NVFP4``, …, after the names of schemes in
        vLLM and llm-compressor; ``KV-FP8`` for the cache."""
        labels = [_label(group) for group in _groups(config)]
        named = labels[:1] + (["mixed"] if any(label != labels[0] for label in labels) else [])
        cache = config.section("kv_cache_scheme")
        if cache.values:
            named.append(f"KV-{_number(cache)}{cache.bits('num_bits')}")
        return "-".join(named) or "dense"

    def tool(self, config: Fields) -> str | None:
        """The library's version; llm-compressor does not name itself."""
        if config.has("version"):
            return f"compressed-tensors {config.text('version')}"
        return super().tool(config)

    def packs(self, config: Fields) -> bool:
        """Not where there is no group of modules."""
        return any(True for _ in _groups(config))

    def aside(self, tensors: Tensors, config: Fields) -> Iterator[str]:
        """The KV cache's scales."""
        yield from scaled.of_cache(tensors)

    def modules(self, tensors: Tensors, config: Fields) -> Iterator[Packed]:
        """Raises CheckpointError."""
        weights = [group.section("weights") for group in _groups(config)]
        sizes = [w.group_size(default=-1) for w in weights]
        bits = [w.bits("num_bits") for w in weights]
        block = next((shape for w in weights if (shape := blocks(w, "block_structure"))), None)
        for name in named(tensors, "weight_packed"):
            if tensors[f"{name}.weight_packed"].dtype == "U8":
                yield scaled.half_byte(name, tensors)
            else:
                yield _packed(name, tensors, bits, sizes)
        for name in named(tensors, "weight_scale"):
            if f"{name}.weight" in tensors:
                packed = scaled.one_byte(name, tensors, sizes=sizes, block=block)
                yield _with_own_bits(packed, set(zip(bits, sizes, strict=True)))


def _with_own_bits(packed: Packed, groups: set[tuple[int, int]]) -> Packed:
    """Integers of fewer than eight bits take a byte each (int-quantized); the config's ``groups``,
    bits and size of each, tell which they are where one alone has the size."""
    fitting = {bits for bits, size in groups if size == packed.group_size}
    if not packed.type.startswith("INT8") or len(fitting) != 1:
        return packed
    (bits,) = fitting
    return replace(packed, type=packed.type.replace("INT8", f"INT{bits}", 1), bits=bits)


def blocks(config: Fields, name: str) -> tuple[int, int] | None:
    """Rows and columns that share a scale, None where none are named. Raises CheckpointError."""
    value = config.values.get(name)
    if value is None:
        return None
    if not (isinstance(value, list) and len(value) == 2):
        raise config.bad(name, "two numbers")
    if not all(type(size) is int and 0 < size < 1 << 31 for size in value):
        raise config.bad(name, "two numbers")
    return value[0], value[1]


def _groups(config: Fields) -> Iterator[Fields]:
    """The groups of modules that say how their weights are."""
    for _, group in config.sections("config_groups"):
        if group.section("weights").values:
            yield group


def _label(group: Fields) -> str:
    weights, activations = group.section("weights"), group.section("input_activations")
    bits, size = weights.bits("num_bits"), weights.group_size(default=-1)
    if _number(weights) == "FP":
        return _float_label(bits, size, weights, activations)
    inputs = "16"
    if activations.values:
        kind = "FP" if _number(activations) == "FP" else ""
        inputs = f"{kind}{activations.bits('num_bits')}"
    return f"W{bits}A{inputs}" + ("" if size == -1 else f"-{group_label(size)}")


def _float_label(bits: int, size: int, weights: Fields, activations: Fields) -> str:
    """llm-compressor's names: FP8, FP8_DYNAMIC, FP8_BLOCK, NVFP4, NVFP4A16, …"""
    micro = "uint8" in weights.text("scale_dtype", default="") or (bits == 4 and size == 32)
    kind = ("MXFP" if micro else "NVFP" if bits == 4 else "FP") + str(bits)
    if weights.text("strategy", default="") == "block":
        return f"{kind}-block"
    if not activations.values:
        return f"{kind}A16"
    return f"{kind}-dynamic" if kind == "FP8" and activations.values.get("dynamic") else kind


def _number(weights: Fields) -> str:
    return "FP" if weights.text("type", default="int") == "float" else "INT"


def _packed(name: str, tensors: Tensors, candidates: list[int], sizes: list[int]) -> Packed:
    weights, _, words = matrix(tensors, name, "weight_packed", ("I32",))
    stated = part(tensors, name, "weight_shape", ("I64",))
    expect(stated, (2,), "the shape of a matrix")
    rows, columns = struct.unpack("<2q", content(stated))
    scale, _, count = matrix(tensors, name, "weight_scale", _SCALES)
    if weights.shape[0] != rows or scale.shape[0] not in (rows, 1) or columns < 1:
        raise CheckpointError(
            f"{weights.origin} is {list(weights.shape)} and its scales {list(scale.shape)}, for a "
            f"matrix of {rows} × {columns}"
        )
    bits = next(
        (b for b in (*candidates, 4, 8, 2, 3, 5, 6, 7, 1) if words in _words(columns, b)), None
    )
    size = scaled.of_groups(columns, count, sizes)
    if bits is None or size is None:
        raise CheckpointError(
            f"{weights.origin}: {words} words of 32 bits and {count} scales a row do not hold "
            f"{columns} values of 1 to 8 bits"
        )
    why = f"a matrix of {rows} × {columns} in {bits} bits and groups of {size}"
    expect(scale, (scale.shape[0], groups(columns, size)), why)
    parts = [f"{name}.{suffix}" for suffix in ("weight_packed", "weight_shape", "weight_scale")]
    if f"{name}.weight_zero_point" in tensors:
        zeros, high, wide = matrix(tensors, name, "weight_zero_point", ("I32",))
        if high not in _words(rows, bits) or wide != count:
            expect(zeros, (_words(rows, bits)[0], count), why)
    if f"{name}.weight_g_idx" in tensors:
        expect(part(tensors, name, "weight_g_idx", ("I32",)), (columns,), why)
    kind = f"INT{bits}-{group_label(size)}"
    return Packed(name, (rows, columns), kind, (*parts, *scaled.others(name, tensors)), bits, size)


def _words(count: int, bits: int) -> tuple[int, int]:
    """Words of 32 bits for ``count`` values: packed densely, and whole values in each."""
    return -(-count * bits // 32), -(-count // (32 // bits))
