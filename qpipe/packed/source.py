"""A checkpoint whose weights are quantized, as one whose weights are not: for whoever reads it row
by row."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from qpipe.errors import CheckpointError
from qpipe.gguf.checkpoint import Checkpoint, open_checkpoint
from qpipe.gguf.safetensors import StoredTensor
from qpipe.hf.quantized import QuantizationSettings, read_settings
from qpipe.packed import structure
from qpipe.packed.dequantized import DequantizedTensor
from qpipe.packed.fields import Fields
from qpipe.packed.formats.base import Packed
from qpipe.packed.structure import Structure
from qpipe.packed.values.exact import exact

_FLOATS = ("F8_E4M3", "F8_E5M2", "U8")  # of eight and four bits
_BYTES = {"BF16": 2, "F16": 2, "F32": 4}
METHODS = (
    "fp8",
    "compressed-tensors",
    "gptq",
    "awq",
    "mxfp4",
    "modelopt",
    "bitsandbytes",
    "auto-round",
)
"""Those of ``quant_method`` that `opened` reads."""
# The names of what packed weights lie in, one for each way.
_WEIGHTS = ("qweight", "weight_packed", "_weight_qdata", "W_q", "q_weight")
# Ends of names of parts of packed matrices, whatever packed them.
_PARTS = (
    ".qweight", ".qzeros", ".scales", ".g_idx", ".weight_packed", ".weight_scale", "_scale_inv",
    ".weight_scale_2", ".weight_zero_point", ".SCB", ".absmax", "_blocks", "_scales",
)  # fmt: skip


def opened(folder: Path) -> Checkpoint:
    """The checkpoint in ``folder``, each packed matrix as one tensor of the model's own name and
    shape; one that is not quantized as it is.

    Raises CheckpointError for what is missing or damaged, for a ``quantization_config`` that
    contradicts the tensors, and for a method that is not read here (`unread`).
    """
    plain = open_checkpoint(folder)
    settings = read_settings(folder, plain.config.fields)
    if settings is None:
        return plain
    if (why := unread(settings)) is not None:
        raise CheckpointError(f"{folder}: quantized {why}, which qpipe does not dequantize")
    _check_twice(plain)
    packed = structure.of(plain)
    check_settings(packed, settings)
    tensors = {tensor.name: tensor for tensor in _tensors(packed, settings)}
    _check_left(packed, settings)
    return replace(plain, tensors=tensors, quantization=settings)


def check_settings(packed: Structure, settings: QuantizationSettings) -> None:
    """Raise CheckpointError for matrices of compressed-tensors of other numbers, bits or groups
    than the settings name."""
    if settings.method != "compressed-tensors":
        return
    config = Fields(settings.path, settings.where, settings.fields)
    groups = [group.section("weights") for _, group in config.sections("config_groups")]
    groups = [group for group in groups if group.values]
    bits = {group.bits("num_bits") for group in groups}
    sizes = {group.group_size(default=-1) for group in groups}
    floats = {group.text("type", default="int") == "float" for group in groups}
    zeroed = all(group.values.get("symmetric") is False for group in groups)
    for module in packed.modules.values():
        first = packed.tensors[module.parts[0]]
        a_byte_each = first.dtype == "I8"
        wrong = (module.bits not in bits and not a_byte_each) or (
            module.group_size is not None and module.group_size not in (-1, *sizes)
        )
        other = (first.dtype in _FLOATS) not in floats
        if wrong or other:
            kind = f", as {'floats' if True in floats else 'integers'}" if other else ""
            raise CheckpointError(
                f"{first.origin}: it and its scales are {module.type}, and {settings.path.name} "
                f"says {_listed(bits)} bits in groups of {_listed(sizes)}{kind}; they contradict "
                "each other: download both again"
            )
        if zeroed and f"{module.name}.weight_zero_point" not in packed.tensors:
            raise CheckpointError(
                f"{first.origin} has no {module.name}.weight_zero_point, which "
                f"{settings.path.name} says it needs (symmetric: false); download both again"
            )


def unread(settings: QuantizationSettings) -> str | None:
    """Say, after the word "quantized", what of a checkpoint with these settings `opened` does not
    read; None if it reads all, as far as they tell."""
    if (why := structure.unread(settings)) is not None:
        return why
    if settings.method not in METHODS:
        return f"by the method {settings.method!r:.80}"
    return None


def _tensors(packed: Structure, settings: QuantizationSettings) -> Iterator[StoredTensor]:
    """Yield tensors in the order of the files; a packed matrix where its first part is."""
    names = {name: module for module in packed.modules.values() for name in module.parts}
    done = set()
    for name, tensor in packed.tensors.items():
        module = names.get(name)
        if module is None and name not in packed.aside:
            yield tensor
        elif module is not None and module.name not in done:
            done.add(module.name)
            yield _dequantized(module, packed, settings)


def _dequantized(
    module: Packed, packed: Structure, settings: QuantizationSettings
) -> DequantizedTensor:
    first = packed.tensors[module.parts[0]]
    known = exact(module, packed.tensors, settings.fields, str(settings.method))
    if known is None or packed.is_turned:
        raise CheckpointError(
            f"{first.origin}: packed as {module.type} in a way that qpipe does not dequantize; "
            "give the checkpoint before quantization"
        )
    read, dtype = known
    name = module.name if _is_whole(module) else f"{module.name}.weight"
    size = math.prod(module.shape) * _BYTES[dtype]
    parts = {part: packed.tensors[part] for part in module.parts}
    return DequantizedTensor(
        first.path, name, dtype, module.shape, 0, size, module, parts, settings.fields, read
    )


def _check_twice(opened: Checkpoint) -> None:
    """Refuse a matrix that is there packed and plain, or packed in two ways."""
    modules: dict[str, str] = {}
    for name, tensor in opened.tensors.items():
        module, _, suffix = name.rpartition(".")
        plain = suffix == "weight" and tensor.dtype in _BYTES
        if not plain and suffix not in _WEIGHTS:
            continue
        if module in modules:
            raise CheckpointError(
                f"{tensor.origin} is there, and {modules[module]!r} too: which of them the model "
                "is, nothing tells; remove the files that do not belong to it"
            )
        modules[module] = name


def _is_whole(module: Packed) -> bool:
    """True of experts in one tensor, whose name has no ``.weight``."""
    return module.parts[0] in (module.name, f"{module.name}_blocks")


def _check_left(packed: Structure, settings: QuantizationSettings) -> None:
    """Refuse parts of packed matrices that the settings do not tell of."""
    for name, tensor in packed.plain.items():
        if name.endswith(_PARTS) or tensor.dtype not in _BYTES:
            raise CheckpointError(
                f"{tensor.origin} ({tensor.dtype}) is no part of any matrix that is packed as "
                f"{settings.path.name} says ({settings.words}): they contradict each other; "
                "download both again"
            )


def _listed(numbers: set[int]) -> str:
    return " or ".join(str(number) for number in sorted(numbers))
