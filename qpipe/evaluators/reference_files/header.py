"""The header of a reference file: as bytes, and read from bytes that anybody may have written.

safetensors (huggingface/safetensors README, "Format"): 8 bytes little-endian length, a JSON object,
the data. Ours is in ``__metadata__``: ``format``, ``about``, ``blocks`` (SHA-256 of each block of
each tensor) and ``sha256``, that of the whole header with zeros in its own place.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import ValidationError

from qpipe.errors import DataError, quoted
from qpipe.evaluators.reference_files.about import FileAbout
from qpipe.evaluators.reference_files.layout import BLOCK, Span, spans
from qpipe.support import strict_json
from qpipe.support.file_kinds import kind_of
from qpipe.support.files import open_file

FORMAT, VERSION = "qpipe.reference", 1
MOST = 16 << 20
"""Bytes of the longest header that is read: the digests of 10 TB take as many."""

_METADATA, _BLANK = "__metadata__", "0" * 64
_ALIGNED = 8


@dataclass(frozen=True)
class FileHeader:
    """A header that was read: ``start`` is where the data begin, ``blocks`` the digests of each
    tensor's blocks."""

    path: Path
    about: FileAbout
    tensors: Mapping[str, Span]
    blocks: Mapping[str, Sequence[str]]
    start: int
    size: int
    sha256: str


def encode(about: FileAbout, blocks: Mapping[str, Sequence[str]]) -> bytes:
    """The header's bytes, its length before them. With blank digests it is as long as with any."""
    tensors = {name: span.record() for name, span in spans(about).items()}
    metadata = {
        "format": f"{FORMAT}/{VERSION}",
        "about": json.dumps(about.model_dump(mode="json"), ensure_ascii=False, allow_nan=False),
        "blocks": json.dumps({"bytes": BLOCK, "sha256": {n: [*b] for n, b in blocks.items()}}),
        "sha256": _BLANK,
    }
    text = json.dumps({_METADATA: metadata, **tensors}, ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNED)
    data = struct.pack("<Q", len(text)) + text
    return data.replace(_field(_BLANK), _field(hashlib.sha256(data).hexdigest()), 1)


def blank(about: FileAbout) -> dict[str, list[str]]:
    """Zeros in the place of every digest."""
    return {name: [_BLANK] * span.blocks for name, span in spans(about).items()}


def file_size(about: FileAbout) -> int:
    """The bytes of a file, before any of it is there."""
    return len(encode(about, blank(about))) + sum(span.size for span in spans(about).values())


def read(path: Path) -> FileHeader:
    """The header of a file. Raises DataError for what is no reference file, one of a newer version
    (with the way out), and one that was cut or changed."""
    with open_file(path, DataError) as file:
        return _read(path, file)


def _length(path: Path, file: BinaryIO, size: int) -> int:
    """The bytes of the header. Raises DataError for no safetensors, and for a header that is
    cut."""
    prefix = file.read(8)
    length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
    if not 0 < length <= MOST:
        raise DataError(
            f"{path}: no reference file: it is {kind_of(path, DataError)} ({size:,} bytes), and not"
            f" safetensors with a header of up to {MOST:,} bytes; give one that `qpipe reference "
            "export` wrote"
        )
    if length > size - 8:
        raise _damaged(
            path, f"it is cut short: {size:,} bytes, and its header alone takes {8 + length:,}"
        )
    return int(length)


def _read(path: Path, file: BinaryIO) -> FileHeader:
    size = os.fstat(file.fileno()).st_size
    length = _length(path, file, size)
    text = file.read(length)
    try:
        fields = strict_json.parse(text)
    except ValueError as error:
        raise DataError(
            f"{path}: no reference file: its header is no JSON ({error}); get it again"
        ) from None
    metadata = _metadata(path, fields)
    _check_own_digest(path, struct.pack("<Q", length) + text, metadata["sha256"])
    about = _about(path, metadata["about"])
    tensors = spans(about)
    _check_tensors(path, fields, tensors, data=size - 8 - length)
    blocks = _blocks(path, metadata["blocks"], tensors)
    return FileHeader(path, about, tensors, blocks, 8 + length, size, metadata["sha256"])


def _metadata(path: Path, fields: Any) -> dict[str, str]:
    """The strings of a header. Raises DataError for another kind of file, and another version."""
    metadata = fields.get(_METADATA) if isinstance(fields, dict) else None
    kind = metadata.get("format") if isinstance(metadata, dict) else None
    name, _, version = str(kind).partition("/")
    if not isinstance(metadata, dict) or name != FORMAT:
        raise DataError(
            f"{path}: safetensors, but no reference file (format {quoted(kind)}); "
            "`qpipe reference export` writes one"
        )
    if version != str(VERSION):
        raise DataError(
            f"{path}: a reference file of version {quoted(version)}, and this qpipe reads version "
            f"{VERSION}: use a newer qpipe, or have it exported by one of this version"
        )
    lacking = [n for n in ("about", "blocks", "sha256") if not isinstance(metadata.get(n), str)]
    if lacking:
        raise _damaged(path, f"its header has no {lacking[0]}")
    return metadata


def _check_own_digest(path: Path, data: bytes, claimed: str) -> None:
    blanked = data.replace(_field(claimed), _field(_BLANK), 1)
    if hashlib.sha256(blanked).hexdigest() != claimed:
        raise _damaged(path, "a byte of its header was changed")


def _field(digest: str) -> bytes:
    return f'"sha256": "{digest}"'.encode()


def _about(path: Path, text: str) -> FileAbout:
    try:
        about = FileAbout.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise _damaged(path, f"about.{field}: {first['msg'][:200]}") from None
    protocol, text_part = about.protocol, about.text
    top_k = about.stored.top_k or 1
    if top_k > about.stored.n_vocab:
        raise _damaged(path, f"about.stored.top_k is {top_k}, of {about.stored.n_vocab} tokens")
    if protocol.scored > protocol.windows * (protocol.width - 1):
        raise _damaged(path, "about.protocol: more tokens are scored than its windows have")
    if text_part.carried and (text_part.sha256 is None or not text_part.documents):
        raise _damaged(path, "about.text: a text that is carried has documents and a digest")
    return about


def _check_tensors(path: Path, fields: Any, tensors: Mapping[str, Span], *, data: int) -> None:
    """Raise DataError unless the header's tensors are those that follow from what it says, and fill
    the file."""
    entries = {name: entry for name, entry in fields.items() if name != _METADATA}
    for name in sorted({*entries} | {*tensors}):
        wanted = tensors[name].record() if name in tensors else None
        if entries.get(name) != wanted:
            raise _damaged(
                path,
                f"tensor {quoted(name)} is {quoted(json.dumps(entries.get(name)))}, and by what "
                f"the header says of the file it is {json.dumps(wanted)}",
            )
    needed = sum(span.size for span in tensors.values())
    if needed != data:
        what = "is cut short" if data < needed else "has more behind its last tensor"
        raise _damaged(path, f"it {what}: {data:,} bytes of data, and {needed:,} belong to it")


def _blocks(path: Path, text: str, tensors: Mapping[str, Span]) -> Mapping[str, Sequence[str]]:
    try:
        fields = strict_json.parse(text.encode())
        size, digests = fields["bytes"], fields["sha256"]
        fits = size == BLOCK and digests.keys() == tensors.keys()
        fits = fits and all(len(digests[name]) == span.blocks for name, span in tensors.items())
    except (ValueError, KeyError, TypeError, AttributeError):
        fits = False
    if not fits:
        raise _damaged(path, f"its digests are not one for each {BLOCK:,} bytes of each tensor")
    return {str(name): [*map(str, each)] for name, each in digests.items()}


def _damaged(path: Path, problem: str) -> DataError:
    return DataError(f"{path}: this reference file is damaged: {problem}; get it again")
