"""Whether an engine did what was asked of it: which matrices it packed, in how many bits and
groups, and with which numbers. Asked of every engine's output before it enters the store."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from qpipe.engines.common.module_rules import ModuleRule
from qpipe.errors import CheckpointError

if TYPE_CHECKING:
    from qpipe.packed.formats.base import Packed
    from qpipe.packed.structure import Structure

# What chooses experts: no engine need pack it, and most keep it on purpose.
ROUTER = re.compile(r"(^|\.)(gate|router|router\.layer|shared_expert_gate)$")

# A larger part of the weights that were to be packed makes it another model than its label says.
_MOST_LEFT = 0.05


@dataclass(frozen=True)
class Wish:
    """A request to ``engine``: the matrices of ``source`` by module, with (rows, columns), to be
    packed in ``bits`` and ``group_size`` (None: the engine's own), but for single ``rules``.

    ``scaled``: it may scale channels, as AWQ does.
    """

    engine: str
    source: Path
    modules: Mapping[str, tuple[int, int]]
    rules: Mapping[str, ModuleRule] = field(default_factory=dict)
    bits: int | None = None
    group_size: int | None = None
    scaled: bool = False


def check(structure: Structure, wish: Wish) -> list[str]:
    """Notes on what is otherwise than asked and does no harm.

    Raises CheckpointError for matrices that were not packed (a twentieth of the weights may stay),
    that have other bits or groups, or other numbers than the source's (`packed.fidelity`).
    """
    from qpipe.packed import fidelity

    _check_skipped(structure, wish)
    notes = _check_packed(structure, wish)
    for name, module in structure.modules.items():
        if name in wish.modules:
            _check_bits(structure, module, wish)
    return [*notes, *fidelity.check(structure, wish.source, scaled=wish.scaled)]


def share(
    subset: Collection[str],
    matrices: Collection[str],
    description: str = " that were to be quantized",
) -> str:
    """The matrices that stay as they are: how many, and which, for a message."""
    names = sorted(subset)
    return f"{len(names)} of {len(matrices)} matrices{description}, such as {names[-1]},"


def _check_packed(structure: Structure, wish: Wish) -> list[str]:
    required = [
        name for name in wish.modules
        if not _skips(wish.rules.get(name)) and (name in wish.rules or not ROUTER.search(name))
    ]  # fmt: skip
    plain = [name for name in required if name not in structure.modules]
    if not plain:
        return []
    part = sum(math.prod(wish.modules[name]) for name in plain) / sum(
        math.prod(wish.modules[name]) for name in required
    )
    sentence = f"{share(plain, required)} stayed as they are: {part:.1%} of their weights"
    ruled = [name for name in plain if name in wish.rules]
    if part <= _MOST_LEFT and not ruled:
        return [f"{sentence}; {wish.engine} does not pack them"]
    raise CheckpointError(
        f"{structure.folder}: {sentence}, and the model would be called {structure.label}; "
        f"{wish.engine} does not pack them: use another engine (quantize=rtn and quantize=gguf "
        "take most models), or say that they stay: "
        f"quantize.modules={{{_pattern((ruled or plain)[-1])}: skip}}"
    )


def _check_skipped(structure: Structure, wish: Wish) -> None:
    packed = [name for name in structure.modules if _skips(wish.rules.get(name))]
    if packed:
        raise CheckpointError(
            f"{structure.folder}: {share(packed, structure.modules, '')} are packed, and "
            f"quantize.modules skips them: {wish.engine} does not follow this rule; use another "
            "engine"
        )


def _check_bits(structure: Structure, module: Packed, wish: Wish) -> None:
    own = wish.rules.get(module.name)
    bits = own.bits if own is not None and own.bits is not None else wish.bits
    size = own.group_size if own is not None and own.group_size is not None else wish.group_size
    columns = wish.modules[module.name][1]
    differs = bits is not None and module.bits != bits
    if size is not None and module.group_size is not None:
        differs |= _whole(size, columns) != _whole(module.group_size, columns)
    if differs:
        raise CheckpointError(
            f"{structure.folder}: {module.name} is {module.type}, and {bits} bits in groups of "
            f"{size} were asked for: {wish.engine} gives this matrix others; use another engine, "
            f"or skip it: quantize.modules={{{_pattern(module.name)}: skip}}"
        )


def _whole(size: int, columns: int) -> int:
    return columns if size == -1 else min(size, columns)


def _skips(rule: ModuleRule | None) -> bool:
    return rule is not None and rule.skip


def _pattern(name: str) -> str:
    """A pattern that matches a module and its like in the other layers."""
    return "experts" if ".experts." in name else name.split(".")[-1]
