"""Names of tensors in short, as llama.cpp numbers layers. Imports nothing of qpipe."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_LAYER = re.compile(r"blk\.(\d+)\.(.+)")


def shortened(names: Iterable[str]) -> list[str]:
    """Join the names of tensors that differ only by their layer: ``blk.{0-3,7}.attn_v.weight``."""
    layers: dict[str, list[int] | None] = {}
    for name in names:
        if match := _LAYER.fullmatch(name):
            numbers = layers.setdefault(match[2], [])
            assert numbers is not None
            numbers.append(int(match[1]))
        else:
            layers[name] = None
    return [
        name if numbers is None else f"blk.{{{_ranges(sorted(numbers))}}}.{name}"
        for name, numbers in layers.items()
    ]


def _ranges(numbers: Sequence[int]) -> str:
    """``[0, 1, 2, 5]`` as ``0-2,5``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
