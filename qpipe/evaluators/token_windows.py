"""A text as token ids in windows: an artifact that every measurement of a model shares.

Files: ``tokens.npy`` [windows, width] and ``spans.npy`` [windows, 2], little-endian int32, and
``tokens.json``, and ``text.txt``, the prepared text, where it is one document. No tool's version is
in them: a text's equal ids give equal bytes, whatever made them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qpipe.evaluators.protocols import Protocol

if TYPE_CHECKING:
    from qpipe.evaluators.metrics.backend import TokenSource
    from qpipe.evaluators.metrics.windows import Windows

TOKENS, SPANS, ABOUT, TEXT = "tokens.npy", "spans.npy", "tokens.json", "text.txt"


@dataclass(frozen=True)
class About:
    """A description of the windows. ``units`` are words or bytes, None where ``unit`` is token."""

    text: str
    protocol: str
    protocol_version: int
    unit: str
    units: int | None
    n_ctx: int
    available: int
    text_tokens: int
    sha256: str


@dataclass(frozen=True)
class Tokenized:
    """Windows, and what they are of."""

    windows: Windows
    about: About

    def save(self, folder: Path) -> None:
        """Write the files."""
        import numpy as np

        np.save(folder / TOKENS, self.windows.tokens.astype("<i4"))
        np.save(folder / SPANS, self.windows.spans.astype("<i4"))
        (folder / ABOUT).write_text(json.dumps(asdict(self.about), indent=1))


def load(folder: Path) -> Tokenized:
    """Read the files of an artifact."""
    import numpy as np

    from qpipe.evaluators.metrics.windows import Windows

    about = About(**json.loads((folder / ABOUT).read_bytes()))
    windows = Windows(
        np.load(folder / TOKENS),
        np.load(folder / SPANS),
        about.available,
        about.text_tokens,
        about.units,
    )
    return Tokenized(windows, about)


def tokenize(text: str, source: TokenSource, protocol: Protocol, *, name: str) -> Tokenized:
    """Cut a text; ``name`` is what reports call it. Raises DataError for an unusable text."""
    from qpipe.evaluators.metrics.windows import cut

    windows = cut(text, source, protocol)
    about = About(
        text=name,
        protocol=protocol.label,
        protocol_version=protocol.version,
        unit=protocol.unit,
        units=windows.units,
        n_ctx=protocol.n_ctx,
        available=windows.available,
        text_tokens=windows.text_tokens,
        sha256=windows.sha256,
    )
    return Tokenized(windows, about)
