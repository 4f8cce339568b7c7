"""Which tensors are in a reference file and where: all of it follows from a few numbers.

Tensors stand in the order of safetensors' own writer, by falling size of an element and then by
name, so that each is aligned. What a file has must be exactly this: a header that says otherwise is
refused before anything is read for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qpipe.evaluators.reference_files.about import FileAbout

if TYPE_CHECKING:
    import numpy as np

NLL, WINDOWS, SPANS, TEXT, TEXT_ENDS = "nll", "windows", "spans", "text", "text_ends"
SCALE, LOW, CODES = "scale", "low", "codes"
TOP, REST, REST_PLOGP, LIKELIEST = "top", "rest", "rest_plogp", "likeliest"
DISTRIBUTIONS = frozenset({SCALE, LOW, CODES, TOP, REST, REST_PLOGP, LIKELIEST})
"""The tensors that together are distributions."""

BLOCK = 64 << 20
"""Bytes of a tensor that have a digest of their own."""

_NUMPY = {"F64": "<f8", "F32": "<f4", "I64": "<i8", "I32": "<i4", "U32": "<u4", "U16": "<u2"}
_NUMPY["U8"] = "|u1"
_BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "U32": 4, "U16": 2, "U8": 1}
_SHORT = 1 << 16
"""The vocabulary up to which a token's id has 16 bits."""


@dataclass(frozen=True)
class Span:
    """A tensor: ``offset`` counts from the first byte after the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int

    @property
    def size(self) -> int:
        """Its bytes."""
        return math.prod(self.shape) * _BYTES[self.dtype]

    @property
    def row_bytes(self) -> int:
        """The bytes of a row."""
        return math.prod(self.shape[1:]) * _BYTES[self.dtype]

    @property
    def blocks(self) -> int:
        """The number of its digests."""
        return -(-self.size // BLOCK)

    @property
    def numpy_dtype(self) -> np.dtype[np.generic]:
        """Its elements, as numpy reads them."""
        import numpy as np

        return np.dtype(_NUMPY[self.dtype])

    def record(self) -> dict[str, object]:
        """Its entry in the header."""
        return {
            "dtype": self.dtype,
            "shape": [*self.shape],
            "data_offsets": [self.offset, self.offset + self.size],
        }


def spans(about: FileAbout) -> dict[str, Span]:
    """The tensors of a file by name, in their order."""
    protocol, stored, text = about.protocol, about.stored, about.text
    rows = protocol.scored
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {
        NLL: ("F64", (rows,)),
        WINDOWS: ("I32", (protocol.windows, protocol.width)),
        SPANS: ("I32", (protocol.windows, 2)),
        **_distributions(rows, stored.n_vocab, stored.top_k),
    }
    if text.carried:
        shapes |= {TEXT: ("U8", (text.bytes,)), TEXT_ENDS: ("I64", (text.documents,))}
    ordered: dict[str, Span] = {}
    offset = 0
    for name in sorted(shapes, key=lambda name: (-_BYTES[shapes[name][0]], name)):
        span = Span(name, *shapes[name], offset)
        ordered[name] = span
        offset += span.size
    return ordered


def _distributions(
    rows: int, n_vocab: int, top_k: int | None
) -> dict[str, tuple[str, tuple[int, ...]]]:
    if top_k is None:
        shape = (rows,)
        return {SCALE: ("F32", shape), LOW: ("F32", shape), CODES: ("U16", (rows, n_vocab))}
    token = "U16" if n_vocab <= _SHORT else "U32"
    return {
        **dict.fromkeys((TOP, REST, REST_PLOGP), ("F32", (rows,))),
        LIKELIEST: (token, (rows, top_k)),
        CODES: ("U16", (rows, top_k)),
    }


def token_bytes(n_vocab: int, top_k: int | None) -> int:
    """The bytes that each scored token takes: its distribution and its likelihood."""
    one = _distributions(1, n_vocab, top_k)
    return 8 + sum(math.prod(shape) * _BYTES[dtype] for dtype, shape in one.values())
