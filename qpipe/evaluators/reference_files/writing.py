"""Write a reference file, in one pass over a reference's artifact."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qpipe.core import file_lock
from qpipe.evaluators.reference_files import header
from qpipe.evaluators.reference_files.about import FileAbout
from qpipe.evaluators.reference_files.layout import (
    BLOCK,
    LIKELIEST,
    NLL,
    SPANS,
    TEXT,
    TEXT_ENDS,
    WINDOWS,
    Span,
    spans,
)
from qpipe.evaluators.text.reference import Reference

Progress = Callable[[int, int], None]
"""Takes bytes written, and of how many."""

Array = npt.NDArray[Any]

# Bytes of rows that are taken at a time, whatever there is of each tensor in one.
_STEP = 16 << 20


def write(
    out: Path,
    about: FileAbout,
    stored: Reference,
    documents: list[str],
    *,
    progress: Progress = lambda done, total: None,
) -> int:
    """Write ``out``, whole or not at all; return its size. ``documents`` are written if the text is
    carried. Raises OSError."""
    arrays = _arrays(stored, documents)
    aside = out.with_name(f".{out.name[:100]}.{file_lock.unique()}")
    try:
        with aside.open("xb") as file:
            blank = header.encode(about, header.blank(about))
            file.write(blank)
            total = header.file_size(about)
            digests: dict[str, list[str]] = {}
            for name, span in spans(about).items():
                digests[name] = []
                hashing = _Blocks(digests[name])
                for part in _parts(arrays[name], span):
                    file.write(part)
                    hashing.add(part)
                    progress(file.tell(), total)
                hashing.close()
            file.seek(0)
            file.write(header.encode(about, digests))
            file.flush()
            os.fsync(file.fileno())
        aside.replace(out)
    finally:
        aside.unlink(missing_ok=True)
    return total


def documents_sha256(documents: list[str]) -> str:
    """SHA-256 of a text's documents: of the tensors `text` and `text_ends`, one after the other."""
    text, ends = _text(documents)
    return hashlib.sha256(text.tobytes() + ends.tobytes()).hexdigest()


def _text(documents: list[str]) -> tuple[Array, Array]:
    data = [document.encode() for document in documents]
    ends = np.cumsum([len(each) for each in data], dtype="<i8")
    return np.frombuffer(b"".join(data), np.uint8), ends


def _arrays(stored: Reference, documents: list[str]) -> Mapping[str, Any]:
    """Sources of the tensors: arrays, or fields of the stored rows."""
    windows = stored.tokenized.windows
    text, ends = _text(documents)
    rows = stored.all_rows
    fields = {name: _Field(rows, name) for name in stored.form.row_type.names or ()}
    if "tokens" in fields:
        fields[LIKELIEST] = fields.pop("tokens")
    return {
        NLL: stored.nll,
        WINDOWS: windows.tokens,
        SPANS: windows.spans,
        TEXT: text,
        TEXT_ENDS: ends,
        **fields,
    }


@dataclass(frozen=True)
class _Field:
    """A field of rows, which is looked at as far as it is asked for."""

    rows: Any
    name: str

    def __getitem__(self, part: slice) -> Array:
        array: Array = self.rows[part][self.name]
        return array


def _parts(array: Any, span: Span) -> Iterator[memoryview]:
    """The bytes of a tensor, some rows at a time."""
    step = max(1, _STEP // max(1, span.row_bytes))
    for at in range(0, span.shape[0], step):
        part = np.ascontiguousarray(array[at : at + step], span.numpy_dtype)
        yield part.reshape(-1).view(np.uint8).data


@dataclass
class _Blocks:
    """The digest of each block of a tensor, whose bytes come in parts of any size."""

    digests: list[str]
    _hash: Any = field(default_factory=hashlib.sha256)
    _filled: int = 0

    def add(self, data: memoryview) -> None:
        while data:
            part = data[: BLOCK - self._filled]
            self._hash.update(part)
            self._filled += len(part)
            data = data[len(part) :]
            if self._filled == BLOCK:
                self.close()

    def close(self) -> None:
        if self._filled:
            self.digests.append(self._hash.hexdigest())
            self._hash, self._filled = hashlib.sha256(), 0
