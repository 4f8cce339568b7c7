"""The types that no other module writes, and that need no importance matrix: ggml's own C code."""

from __future__ import annotations

import functools

from qpipe.gguf import ggml
from qpipe.gguf.types import GGMLType

_KINDS = (
    GGMLType.Q2_K,
    GGMLType.Q3_K,
    GGMLType.Q4_K,
    GGMLType.Q5_K,
    GGMLType.Q6_K,
    GGMLType.IQ4_NL,
    GGMLType.IQ4_XS,
    GGMLType.IQ3_S,
    GGMLType.TQ1_0,
    GGMLType.TQ2_0,
)

QUANTIZERS = {kind: functools.partial(ggml.quantize, kind=kind) for kind in _KINDS}
