"""Names of formats as tables print them: which type they name, how many bits, which is the base."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

# Bits of a weight in Llama 3.1 8B (llama.cpp, tools/quantize/README.md and its files).
GGUF_BITS = {
    "IQ1_S": 2.0, "IQ1_M": 2.15, "IQ2_XXS": 2.38, "IQ2_XS": 2.59, "IQ2_S": 2.74, "IQ2_M": 2.93,
    "IQ3_XXS": 3.25, "IQ3_XS": 3.5, "IQ3_S": 3.66, "IQ3_M": 3.76, "IQ4_XS": 4.46, "IQ4_NL": 4.68,
    "Q2_K_S": 2.97, "Q2_K": 3.16, "Q3_K_S": 3.64, "Q3_K_M": 4.0, "Q3_K_L": 4.3, "Q4_K_S": 4.67,
    "Q4_K_M": 4.89, "Q5_K_S": 5.57, "Q5_K_M": 5.7, "Q6_K": 6.56, "Q4_0": 4.64, "Q4_1": 5.1,
    "Q5_0": 5.59, "Q5_1": 6.05, "Q8_0": 8.5, "TQ1_0": 1.69, "TQ2_0": 2.06, "MXFP4": 4.25,
}  # fmt: skip

LADDERS: tuple[tuple[str, ...], ...] = (
    ("Q2_K_S", "Q2_K"),
    ("Q3_K_S", "Q3_K_M", "Q3_K_L"),
    ("Q4_K_S", "Q4_K_M"),
    ("Q5_K_S", "Q5_K_M"),
    ("IQ1_S", "IQ1_M"),
    ("IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M"),
    ("IQ3_XXS", "IQ3_XS", "IQ3_S", "IQ3_M"),
)
"""Types of as many bits, from the smallest on: a table with the outer ones has those between."""

_TOP = ("Q6_K", "Q8_0", "F16")
SIZE_ORDERS: tuple[tuple[str, ...], ...] = (
    (*LADDERS[0], *LADDERS[1], *LADDERS[2], *LADDERS[3], *_TOP),
    (*LADDERS[4], *LADDERS[5], *LADDERS[6], "IQ4_XS", "IQ4_NL", *_TOP),
    ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "F16"),
)
"""Types of which none makes a larger file than the next."""

_BASES = {"BF16": "BF16", "F16": "F16", "FP16": "F16", "F32": "F32", "FP32": "F32"}
_TYPE = re.compile(r"(?<![A-Z0-9])(I?Q\d(?:_[A-Z0-9]+)*|TQ\d_0|MXFP4|B?FP?16|FP?32)(?![A-Z0-9])")
_BITS = re.compile(r"(?:INT|FP|W|NF)(\d+)|(\d+(?:\.\d+)?)[ -]?(?:BIT|BPW)")


@dataclass(frozen=True)
class PrintedFormat:
    """The name of a format: the ``type`` in it, as llama.cpp calls it, what stands beside that,
    bits a weight as far as the name says, and whether it is the model before quantization."""

    type: str | None
    rest: str
    bits: float | None
    base: bool


@lru_cache(maxsize=4096)
def read_format(printed: str) -> PrintedFormat:
    """Read a format's name: ``q4_K_M``, ``4-bit (Q4_K_M) opt-rtn``, ``GPTQ-Int4``, ``BF16``."""
    name = printed.upper()
    match = _TYPE.search(name)
    if match is None:
        number = _BITS.search(name)
        said = float(number[1] or number[2]) if number else None
        return PrintedFormat(None, name, said, False)
    kind = _BASES.get(match[1], match[1])
    beside = name[: match.start()] + name[match.end() :]
    base = match[1] in _BASES and not re.sub(r"\(.*?\)", "", beside).strip()
    bits = (32.0 if kind == "F32" else 16.0) if base else GGUF_BITS.get(kind)
    return PrintedFormat(kind, " ".join(beside.strip(" -+()").split()), bits, base)
