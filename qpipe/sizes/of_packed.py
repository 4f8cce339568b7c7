"""Checkpoints whose matrices an engine packed, and those that it left as they are."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from qpipe.errors import RecipeError
from qpipe.gguf.safetensors import DTYPE_BYTES
from qpipe.sizes import tensors
from qpipe.sizes.layouts import Part
from qpipe.sizes.module_rules import ModuleWish, ModuleWishes
from qpipe.sizes.predicted import PredictedSize
from qpipe.sizes.settings import Settings
from qpipe.sizes.source import ModelSource
from qpipe.sizes.tensors import HEADS, AlikeTensors, CheckpointTensors

# What chooses experts: in transformers 5.17 no torch.nn.Linear, which is what engines pack.
ROUTERS = re.compile(r"(^|\.)(gate|router|router\.layer|wg)$")
_FLOATS = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}

FEW = 4096  # tensors, of which each is looked at

Layout = Callable[[int, int, ModuleWish], Iterable[Part]]
"""The tensors of a matrix of so many rows and columns, as the rule of its module has them."""


@lru_cache(maxsize=1 << 14)  # each format asks about each module
def _is_router(name: str, rows: int, columns: int) -> bool:
    return ROUTERS.search(name) is not None


@dataclass(frozen=True)
class Packing:
    """A way to pack a model, its ``label`` for all modules.

    ``head`` is the layout of the output matrix, which otherwise stays as it is; ``bias`` the
    precision of packed modules' biases where it is not the model's; with ``halves`` all that stays
    has two bytes, whatever the model's precision; ``metadata`` what the tool writes into a file's
    metadata of a packed module with so many columns; ``left`` whether it leaves a module, by name,
    rows and columns, as it is.
    """

    label: str
    layout: Layout
    head: Layout | None = None
    bias: str | None = None
    halves: bool = False
    metadata: Callable[[int], Mapping[str, Any]] | None = None
    left: Callable[[str, int, int], bool] = field(default=_is_router)
    notes: tuple[str, ...] = ()


def dtype_of(source: ModelSource) -> str:
    """The precision of the model's weights as safetensors calls it; BF16 where nothing says."""
    return _FLOATS.get(source.dtype, "BF16")


def sized(source: ModelSource, settings: Settings, packing: Packing) -> PredictedSize:
    """The checkpoint that comes out. Raises CheckpointError, and RecipeError for experts in one
    tensor, which engines do not pack."""
    model = tensors.of(source)
    if model.fused is not None:
        raise RecipeError(
            f"{source.config.path}: {model.fused!r} has the experts of a layer in one tensor, "
            "which engines that write checkpoints leave as it is: use quantize=gguf"
        )
    # Where the tool notes each tensor, or a rule may mean one expert, all are looked at.
    single = packing.metadata is not None or bool(ModuleWishes.of(settings).rules)
    single = single or model.count <= FEW
    alike = model.single if single else model.alike
    packed = dict(_packed(alike, settings, packing))
    if packing.head is not None and HEADS.isdisjoint(packed):
        raise RecipeError(
            f"{source.config.path}: its embeddings are the output matrix too (or it is left out by "
            "a rule): take quantize.lm_head out, and it stays as it is"
        )
    entries = list(_entries(source, alike, packed, packing))
    tensors_of: dict[str, int] = {}
    for label, part, count, _ in entries:
        tensors_of[label] = tensors_of.get(label, 0) + count * nbytes(part)
    size = sum(tensors_of.values())
    header = (
        header_bytes((part for _, part, _, _ in entries), _metadata(model, packed, packing))
        if single
        else about_header_bytes(entries)
    )
    return PredictedSize(
        packing.label,
        file_bytes=size + header,
        tensor_bytes=size,
        weights=model.weights,
        notes=(*packing.notes, *model.notes, *assumed(source)),
        tensors=tensors_of,
    )


Counted = tuple[str, Part, int, int]
"""A label, the first of the tensors that it stands for, how many these are, and the letters of all
their names."""


def _entries(
    source: ModelSource,
    alike: Iterable[AlikeTensors],
    packed: Mapping[str, Iterable[Part]],
    packing: Packing,
) -> Iterator[Counted]:
    plain = "BF16" if packing.halves else dtype_of(source)
    for each in alike:
        module, _, kind = each.name.rpartition(".")
        if module in packed and kind == "weight":
            for suffix, dtype, own in packed[module]:
                letters = each.letters + each.count * (len(suffix) - len(kind))
                yield each.label, (f"{module}.{suffix}", dtype, own), each.count, letters
        else:
            narrow = module in packed and kind == "bias"
            dtype = packing.bias or plain if narrow else plain
            yield each.label, (each.name, dtype, each.shape), each.count, each.letters


def _metadata(
    model: CheckpointTensors, packed: Mapping[str, Iterable[Part]], packing: Packing
) -> str:
    """The metadata of a file, as JSON (torchao 0.18, prototype/safetensors)."""
    if packing.metadata is None:
        return '{"format":"pt"}'
    fields = {"format": "pt", "tensor_names": json.dumps([*model.shapes])}
    for name, shape in model.shapes.items():
        of_module = name.removesuffix(".weight") in packed
        said = packing.metadata(shape[-1]) if of_module else {"_type": "Tensor"}
        fields[name] = json.dumps(said)
    return json.dumps(fields, separators=(",", ":"))


def _packed(
    alike: Iterable[AlikeTensors], settings: Settings, packing: Packing
) -> Iterator[tuple[str, Iterable[Part]]]:
    """Each module that is packed, and its tensors."""
    wishes = ModuleWishes.of(settings)
    laid_out: dict[object, tuple[Part, ...]] = {}  # layers are alike
    for each in alike:
        name = each.module
        if name is None:
            continue
        rows, columns = each.shape
        wish = wishes.of_module(name)
        head = name in HEADS
        layout = packing.head if head else packing.layout
        if layout is None or wish.skip or packing.left(name, rows, columns):
            continue
        key = rows, columns, wish, head
        if key not in laid_out:
            laid_out[key] = tuple(layout(rows, columns, wish))
        yield name, laid_out[key]


def assumed(source: ModelSource) -> tuple[str, ...]:
    """Notes of what config.json does not say."""
    if source.dtype in _FLOATS:
        return ()
    return ("config.json names no precision: what stays as it is is taken for two bytes a weight",)


def nbytes(entry: Part) -> int:
    """Bytes of a tensor's data."""
    return math.prod(entry[2]) * DTYPE_BYTES[entry[1]]


def header_bytes(entries: Iterable[Part], metadata: str = '{"format":"pt"}') -> int:
    """Bytes of a safetensors file in front of the data (`qpipe.packed.write`)."""
    length, offset, digits = len('{"__metadata__":}') + len(metadata), 0, 1
    fixed: dict[tuple[str, tuple[int, ...]], tuple[int, int]] = {}  # bytes, and letters of no name
    by_width: dict[int, list[Part]] = {}
    for entry in entries:
        by_width.setdefault(DTYPE_BYTES[entry[1]], []).append(entry)
        if entry[1:] not in fixed:
            fixed[entry[1:]] = nbytes(entry), len(_FIELDS) + len(entry[1]) + _letters(entry[2])
    # safetensors 0.8 writes the widest numbers first, then by name.
    for _, own in sorted(by_width.items(), reverse=True):
        for name, kind, shape in sorted(own):
            size, letters = fixed[kind, shape]
            offset += size
            before, digits = digits, len(str(offset))
            length += len(name) + letters + before + digits
    return 8 + length + -length % 8


_FIELDS = ',"":{"dtype":"","shape":[],"data_offsets":[,]}'


def _letters(shape: tuple[int, ...]) -> int:
    return len(",".join(map(str, shape)))


def about_header_bytes(entries: Sequence[Counted], metadata: str = '{"format":"pt"}') -> int:
    """`header_bytes` of more tensors than are worth sorting: their sizes are taken to be mixed
    evenly among those of as wide numbers, which moves some offsets' digits alone."""
    length, offset = len('{"__metadata__":}') + len(metadata), 0
    # By the width of numbers: of each kind and shape, how many.
    alike: dict[int, dict[tuple[str, tuple[int, ...]], int]] = {}
    for _, (_, kind, shape), count, letters in entries:
        own = alike.setdefault(DTYPE_BYTES[kind], {})
        own[kind, shape] = own.get((kind, shape), 0) + count
        length += letters
    for width, own in sorted(alike.items(), reverse=True):
        end = offset
        for (kind, shape), count in own.items():
            length += count * (len(_FIELDS) + len(kind) + _letters(shape))
            end += count * width * math.prod(shape)
        length += _digits(offset, end, sum(own.values()))
        offset = end
    return 8 + length + -length % 8


def _digits(start: int, stop: int, count: int) -> int:
    """Digits of the offsets where so many pieces of one size begin and end."""
    step, total, power = (stop - start) / count, 2 * count, 10
    while power <= stop:
        below = min(count, max(0, math.ceil((power - start) / step))) if step else count
        total += (count - below) + (count - max(0, min(count, below - 1)))
        power *= 10
    return total
