"""EXL2: the bits of the layers are what was asked for, on average and with all that is stored.

exllamav2 deals out bits until scales, groups, orders of columns and biases too are as many as were
asked for (conversion/optimize.py), so that which module has how many is not needed here. The head
has bits of its own; embeddings and norms stay in half precision.
Source: exllamav2 0.3.2, conversion/qparams.py: ``QParams.total_bits`` and ``qparams_headoptions``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from qpipe.sizes import tensors
from qpipe.sizes.of_packed import about_header_bytes, assumed
from qpipe.sizes.predicted import PredictedSize
from qpipe.sizes.settings import Settings
from qpipe.sizes.source import ModelSource
from qpipe.sizes.tensors import HEADS

# By head_bits: columns in a group, and which bits how large a part of the columns has.
_HEADS = {
    2: (32, ((4, 0.3), (2, 0.7))),
    3: (32, ((4, 0.15), (3, 0.85))),
    4: (32, ((6, 0.15), (4, 0.85))),
    6: (128, ((8, 0.15), (6, 0.85))),
    8: (128, ((8, 1.0),)),
}
_SUFFIXES = ("q_invperm", "q_scale", "q_scale_max", "q_groups", "q_weight")
_HALF = 2


def predicted(source: ModelSource, settings: Settings) -> PredictedSize:
    """The checkpoint that exllamav2 aims at. Raises CheckpointError and RecipeError."""
    bits = settings.bits(4.0, "bpw")
    head_bits = settings.number("head_bits", 6, choices=tuple(_HEADS))
    model = tensors.of(source)
    layers = [each for each in model.alike if each.module is not None and each.module not in HEADS]
    modules = {each.module for each in layers}
    heads = [model.first[f"{name}.weight"] for name in HEADS if f"{name}.weight" in model.first]
    rows, columns = heads[0] if heads else _embeddings(model.first)
    sizes: dict[str, float] = {"lm_head.weight": _head_bytes(rows, columns, head_bits)}
    sizes |= {each.label: each.count * math.prod(each.shape) * bits / 8 for each in layers}
    sizes |= {
        each.label: each.count * _HALF * math.prod(each.shape)
        for each in model.alike
        if each.label not in sizes
        and not (each.name.endswith(".bias") and each.name.removesuffix(".bias") in modules)
    }
    size = sum(sizes.values())
    entries = [
        (each.label, (each.name, "I32", (columns,)), each.count, each.letters + len(part))
        for each in layers
        for part in _SUFFIXES
    ]
    return PredictedSize(
        f"EXL2-{bits}bpw-h{head_bits}",
        file_bytes=round(size) + about_header_bytes(entries),
        tensor_bytes=round(size),
        weights=model.weights,
        notes=(
            "EXL2: the layers are taken for the bits a weight that exllamav2 aims at, "
            "scales and groups counted; a measurement deals them out, and comes close from below",
            *(
                ("EXL2 has a head of its own beside embeddings that are tied to it",)
                if not heads
                else ()
            ),
            *model.notes,
            *assumed(source),
        ),
        tensors={name: round(each) for name, each in sizes.items()},
    )


def _head_bytes(rows: int, columns: int, bits: int) -> float:
    """Bytes of a head, its rows padded to whole words of 32."""
    size, parts = _HEADS[bits]
    rows += -rows % 32
    left, total, groups = columns, 0.0, 0
    for width, share in parts:
        own = math.ceil(min(columns * share, left) / size)
        total += min(own * size, left) * rows * width
        left -= min(own * size, left)
        groups += own
    # Scales of four bits, the largest of a group, its place, and the order of columns.
    return (total + groups * (rows * 4 + 16 + 32) + columns * 32) / 8


def _embeddings(shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, int]:
    name = next(n for n, s in shapes.items() if "embed" in n and len(s) == 2)
    rows, columns = shapes[name]
    return rows, columns
