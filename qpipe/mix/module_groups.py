"""Modules of a checkpoint that have one form together, and the forms that packed modules have.

vLLM computes the projections of an attention as one matrix, and so with one number of bits and one
size of groups, also gate and up of an MLP, and all experts of a layer (vLLM,
model_executor/models: ``packed_modules_mapping``; layers/fused_moe).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from qpipe.packed.formats.base import group_label
from qpipe.sizes import layouts
from qpipe.sizes.of_packed import nbytes

FUSED = {
    "qkv_proj": ("q_proj", "k_proj", "v_proj"),
    "gate_up_proj": ("gate_proj", "up_proj"),
    "fused_qkv_a_proj": ("q_a_proj", "kv_a_proj_with_mqa"),
}
"""vLLM's name of modules that are computed as one, and theirs."""

_OF = {part: whole for whole, parts in FUSED.items() for part in parts}
_EXPERTS = re.compile(r"(.*\.experts)\.\d+\..+")
_NAME = re.compile(r"(\d)bit-(channel|g(\d+))")


@dataclass(frozen=True)
class PackedForm:
    """So many ``bits`` a weight, in groups of ``group_size`` weights of a row, -1 the whole row."""

    bits: int
    group_size: int

    @property
    def name(self) -> str:
        """4bit-g128."""
        return f"{self.bits}bit-{group_label(self.group_size)}"

    @classmethod
    def named(cls, name: str) -> PackedForm:
        """Read a `name`."""
        match = _NAME.fullmatch(name)
        assert match is not None, name
        return cls(int(match[1]), int(match[3] or -1))

    def fits(self, columns: int) -> bool:
        """True if groups fill rows of so many weights."""
        return self.group_size == -1 or columns % self.group_size == 0

    def nbytes(self, rows: int, columns: int) -> int:
        """The bytes of a matrix in GPTQ's layout."""
        parts = layouts.gptq(rows, columns, bits=self.bits, size=self.group_size, dtype="F16")
        return sum(map(nbytes, parts))


def forms(bits: Iterable[int], group_sizes: Sequence[int], columns: int) -> list[PackedForm]:
    """The forms that rows of so many weights can have, the smallest first; in groups of whole rows
    where no other size fits."""
    fitting = [size for size in group_sizes if PackedForm(2, size).fits(columns)] or [-1]
    return sorted(
        (PackedForm(each, size) for each in bits for size in fitting),
        key=lambda form: form.nbytes(64, columns),
    )


def grouped(modules: Iterable[str]) -> dict[str, list[str]]:
    """Modules by the name of what is computed as one."""
    groups: dict[str, list[str]] = {}
    for name in modules:
        groups.setdefault(_group(name), []).append(name)
    return groups


def _group(name: str) -> str:
    if match := _EXPERTS.fullmatch(name):
        return match[1]
    parent, _, last = name.rpartition(".")
    return f"{parent}.{_OF[last]}" if last in _OF else name


def compact(forms_of: Mapping[str, PackedForm], base: PackedForm) -> list[tuple[str, PackedForm]]:
    """Rules for modules that have another form than ``base``, of which the last that matches
    counts: for each kind of module the form that most of its layers have, then those with
    others."""
    kinds: dict[str, dict[PackedForm, list[str]]] = {}
    rules = []
    for name, form in forms_of.items():
        if match := re.fullmatch(r"(.*?\.)(\d+)(\..*)", name):
            kind = rf"^{re.escape(match[1])}LAYER{re.escape(match[3])}$"
            kinds.setdefault(kind, {}).setdefault(form, []).append(match[2])
        elif form != base:
            rules.append((rf"^{re.escape(name)}$", form))
    for kind, by_form in kinds.items():
        most, *others = sorted(by_form, key=lambda form: -len(by_form[form]))
        if most != base:
            rules.append((kind.replace("LAYER", r"\d+"), most))
        for form in others:
            rules.append((kind.replace("LAYER", f"({'|'.join(by_form[form])})"), form))
    return rules
