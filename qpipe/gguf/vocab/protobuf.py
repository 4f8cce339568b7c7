"""The few parts of a SentencePiece model file that a vocabulary needs.

A protobuf message (sentencepiece_model.proto): field 1 of ModelProto repeats SentencePiece
{1: piece, 2: score, 3: type}. Reading that much takes less than a dependency.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


MOST_PIECES = 1 << 20
"""The largest vocabularies have a quarter."""


@dataclass(frozen=True)
class Piece:
    """One entry of the vocabulary; ``kind`` as in the proto (1 normal … 6 byte)."""

    text: bytes
    score: float
    kind: int


def pieces(model: bytes) -> list[Piece]:
    """The vocabulary in ``model``; `ValueError` if it is no such message or holds no piece."""
    entries: list[Piece] = []
    for number, body in _fields(model):
        if number == 1:
            entries.append(_piece(body))
            if len(entries) > MOST_PIECES:
                raise ValueError(f"it holds more than {MOST_PIECES:,} pieces")
    if not entries:
        raise ValueError("it holds no vocabulary")
    return entries


def _piece(body: bytes | int) -> Piece:
    if isinstance(body, int):
        raise ValueError("field 1 is a number, not a piece")
    text, score, kind = b"", 0.0, 1
    for number, value in _fields(body):
        if number == 1 and isinstance(value, bytes):
            text = value
        elif number == 2 and isinstance(value, bytes) and len(value) == 4:
            score = struct.unpack("<f", value)[0]
        elif number == 3 and isinstance(value, int):
            kind = value
    return Piece(text, score, kind)


def _fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """(field number, value) of a message: varints as numbers, the rest as bytes."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if wire == _BYTES:
            size, at = _varint(message, at)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"byte {at} starts a field of the unknown wire type {wire}")
        if at + size > len(message):
            raise ValueError(f"field {number} needs {size} bytes, {len(message) - at} are left")
        yield number, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError("it ends in the middle of a number")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError(f"byte {at} ends a number of more than 10 bytes")
