"""What of a quantization's name a file does not hold, said in one note or refused.

Types with blocks of 256 fit no row of 64 or 896 weights. llama-quantize puts others in their place
and warns of each (src/llama-quant.cpp, tensor_type_fallback): a file called IQ2_M may then hold no
IQ2 at all, and be tensor by tensor what IQ3_XXS is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from qpipe.gguf import ftypes
from qpipe.gguf.ftypes import FileType
from qpipe.gguf.types import FLOATS, GGMLType
from qpipe.support.tensor_names import shortened

_FAMILIES = ("IQ1", "IQ2", "IQ3")
"""Types that differ by half a bit or less, of which mixtures of such a name are made."""


@dataclass(frozen=True)
class Fallback:
    """A matrix whose rows of ``row`` weights became ``substitute`` in place of ``default``."""

    name: str
    row: int
    default: GGMLType
    substitute: GGMLType


@dataclass(frozen=True)
class Shortfall:
    """The difference between a file and what its name ``ftype`` says.

    ``types`` are those of all matrices that can be quantized, by name.
    """

    ftype: FileType
    types: Mapping[str, GGMLType]
    fallbacks: tuple[Fallback, ...]

    @classmethod
    def of(
        cls,
        ftype: FileType,
        types: Mapping[str, GGMLType],
        fallbacks: tuple[Fallback, ...],
        *,
        named: bool = False,
    ) -> Shortfall | None:
        """None for a file that is what its name says; ``named``: a recipe chose single types."""
        own = any(_is_own(ftype, kind) for kind in types.values())
        if not ftype.quantized or not types or (not fallbacks and (own or named)):
            return None
        return cls(ftype, types, fallbacks)

    def note(self) -> str:
        """Count in a sentence the matrices of the name's own types, and those of others."""
        others = [kind for kind in self.types.values() if not _is_own(self.ftype, kind)]
        own, name = len(self.types) - len(others), self.ftype.name
        head = (
            f"{name}: {own} of {len(self.types)} matrices {'is' if own == 1 else 'are'} "
            f"{_family(self.ftype)} ({_counted(others)})"
        )
        if not own and name == "MXFP4_MOE":
            head += ", for the model has no experts"
        if not self.fallbacks:
            return head
        return (
            f"{head}; {len(self.fallbacks)} have rows of {_either(f.row for f in self.fallbacks)} "
            f"weights, no multiple of {_either(f.default.block for f in self.fallbacks)}"
        )

    def refusal(self) -> str:
        """Why the file is not made where no fallback is wanted: the matrices, and what fits."""
        if not self.fallbacks:
            return (
                f"quantize.fallback is refuse, and {self.note()}; choose another quantize.type, or "
                "set quantize.fallback=warn"
            )
        rows = sorted({f.row for f in self.fallbacks})
        return (
            f"quantize.fallback is refuse, and {len(self.fallbacks)} of {len(self.types)} matrices "
            f"cannot be of the types that {self.ftype.name} has for them: "
            f"{'; '.join(map(self._of_row, rows))}. Name such types for them in "
            "quantize.tensor_types, choose another quantize.type, or set quantize.fallback=warn"
        )

    def _of_row(self, row: int) -> str:
        names = shortened(f.name for f in self.fallbacks if f.row == row)
        return f"rows of {row} weights ({', '.join(names)}) fit {', '.join(_fitting(row))}"


def _is_own(ftype: FileType, kind: GGMLType) -> bool:
    """True if ``kind`` is a type that the name ``ftype`` says: IQ2_S of IQ2_M, Q4_K of Q4_K_M."""
    family = _family(ftype)
    return kind.name == family or (family in _FAMILIES and kind.name.startswith(f"{family}_"))


def _family(ftype: FileType) -> str:
    first = ftype.default.name.split("_")[0]
    return first if first in _FAMILIES else ftype.default.name


def _counted(kinds: Iterable[GGMLType]) -> str:
    """``30 are IQ4_NL, 5 F16``."""
    (first, most), *others = Counter(kind.name for kind in kinds).most_common()
    words = [f"{most} {'is' if most == 1 else 'are'} {first}"]
    return ", ".join([*words, *(f"{number} {name}" for name, number in others)])


def _fitting(row: int) -> list[str]:
    """The types that rows of so many weights fit, smallest first: floats where no other does."""
    every = {ftype.default for ftype in ftypes.FILE_TYPES.values()}
    by_size = sorted(every, key=lambda kind: (kind.value[2] / kind.block, kind.number))
    names = [kind.name for kind in by_size if kind.fits(row) and kind not in FLOATS]
    return names or [kind.name for kind in by_size if kind in FLOATS]


def _either(numbers: Iterable[int]) -> str:
    *others, last = map(str, sorted(set(numbers)))
    return f"{', '.join(others)} or {last}" if others else last
