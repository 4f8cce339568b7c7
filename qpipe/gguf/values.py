"""Metadata values as GGUF stores them: a 32-bit type tag, then the value, little endian.

Metadata is passed around as ``{key: encoded value}``: what was read is written back bit for bit,
and only who wants to look decodes. Format: ggml/docs/gguf.md in the ggml repository.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from enum import IntEnum


class ValueType(IntEnum):
    """gguf.h, enum gguf_type."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


MAX_U32 = 2**32 - 1
"""The largest unsigned 32-bit integer."""

MAX_ITEMS = 1 << 22
"""Values in one array: vocabularies have a tenth."""

Scalar = bool | int | float | str
Value = Scalar | list[Scalar]
Metadata = dict[str, bytes]

_FORMATS = {
    ValueType.UINT8: "<B",
    ValueType.INT8: "<b",
    ValueType.UINT16: "<H",
    ValueType.INT16: "<h",
    ValueType.UINT32: "<I",
    ValueType.INT32: "<i",
    ValueType.UINT64: "<Q",
    ValueType.INT64: "<q",
    ValueType.FLOAT32: "<f",
    ValueType.FLOAT64: "<d",
    ValueType.BOOL: "<?",
}


def u32(value: int) -> bytes:
    """An unsigned 32-bit integer."""
    return _tag(ValueType.UINT32) + struct.pack("<I", value)


def f32(value: float) -> bytes:
    """A 32-bit float."""
    return _tag(ValueType.FLOAT32) + struct.pack("<f", value)


def boolean(value: bool) -> bytes:
    """A boolean."""
    return _tag(ValueType.BOOL) + struct.pack("<?", value)


def string(value: str) -> bytes:
    """A UTF-8 string."""
    return _tag(ValueType.STRING) + pack_string(value.encode())


def strings(values: Sequence[bytes]) -> bytes:
    """An array of strings, given as their bytes (a token need not be valid UTF-8)."""
    return _array(ValueType.STRING, len(values), b"".join(map(pack_string, values)))


def f32s(values: Sequence[float]) -> bytes:
    """An array of 32-bit floats."""
    return _array(ValueType.FLOAT32, len(values), struct.pack(f"<{len(values)}f", *values))


def i32s(values: Sequence[int]) -> bytes:
    """An array of signed 32-bit integers."""
    return _array(ValueType.INT32, len(values), struct.pack(f"<{len(values)}i", *values))


def booleans(values: Sequence[bool]) -> bytes:
    """An array of booleans."""
    return _array(ValueType.BOOL, len(values), struct.pack(f"<{len(values)}?", *values))


def encode(value: Scalar, kind: ValueType) -> bytes:
    """``value`` as ``kind``, which is no array."""
    return _tag(kind) + _pack(value, kind)


def pack_string(value: bytes) -> bytes:
    """A length-prefixed string without its tag, as keys and tensor names are stored."""
    return struct.pack("<Q", len(value)) + value


def skip(buffer: memoryview, at: int) -> int:
    """The position where the value that starts ``at`` ends.

    Raises `IndexError` or `struct.error` where the buffer ends first, `ValueError` for a type
    tag that the format does not know.
    """
    kind, at = _kind(buffer, at)
    if kind != ValueType.ARRAY:
        return _skip(buffer, at, kind)
    item, at = _kind(buffer, at)
    count, at = _length(buffer, at)
    if item == ValueType.ARRAY:
        raise ValueError("an array of arrays")
    texts = item == ValueType.STRING
    end = at if texts else _within(buffer, at + count * struct.calcsize(_FORMATS[item]))
    if count > MAX_ITEMS:
        noun = "texts" if texts else "values"
        raise ValueError(f"an array of {count:,} {noun}, more than {MAX_ITEMS:,}")
    if not texts:
        return end
    for _ in range(count):
        at = _skip(buffer, at, item)
    return at


def decode(encoded: bytes, *, limit: int | None = None) -> Value:
    """The value itself; of an array only the first ``limit`` elements."""
    buffer = memoryview(encoded)
    kind, at = _kind(buffer, 0)
    if kind != ValueType.ARRAY:
        return _unpack(buffer, at, kind)[0]
    item, at = _kind(buffer, at)
    count, at = _length(buffer, at)
    values: list[Scalar] = []
    for _ in range(count if limit is None else min(count, limit)):
        value, at = _unpack(buffer, at, item)
        values.append(value)
    return values


def length(encoded: bytes) -> int | None:
    """The number of elements of an array, None for any other value."""
    kind, at = _kind(memoryview(encoded), 0)
    if kind != ValueType.ARRAY:
        return None
    return _length(memoryview(encoded), at + 4)[0]


def kind_of(encoded: bytes) -> str:
    """The type as people write it: ``uint32``, ``array of string``."""
    kind, at = _kind(memoryview(encoded), 0)
    if kind != ValueType.ARRAY:
        return kind.name.lower()
    return f"array of {_kind(memoryview(encoded), at)[0].name.lower()}"


def _tag(kind: ValueType) -> bytes:
    return struct.pack("<I", kind)


def _array(item: ValueType, count: int, payload: bytes) -> bytes:
    return _tag(ValueType.ARRAY) + _tag(item) + struct.pack("<Q", count) + payload


def _pack(value: Scalar, kind: ValueType) -> bytes:
    if kind == ValueType.STRING:
        return pack_string(str(value).encode())
    return struct.pack(_FORMATS[kind], value)


def _kind(buffer: memoryview, at: int) -> tuple[ValueType, int]:
    return ValueType(struct.unpack_from("<I", buffer, at)[0]), at + 4


def _length(buffer: memoryview, at: int) -> tuple[int, int]:
    return int(struct.unpack_from("<Q", buffer, at)[0]), at + 8


def _skip(buffer: memoryview, at: int, kind: ValueType) -> int:
    if kind == ValueType.STRING:
        size, at = _length(buffer, at)
        return _within(buffer, at + size)
    return _within(buffer, at + struct.calcsize(_FORMATS[kind]))


def _within(buffer: memoryview, end: int) -> int:
    if end > len(buffer):
        raise IndexError(end)
    return end


def _unpack(buffer: memoryview, at: int, kind: ValueType) -> tuple[Scalar, int]:
    if kind == ValueType.STRING:
        size, at = _length(buffer, at)
        return bytes(buffer[at : at + size]).decode("utf-8", "replace"), at + size
    scalar: Scalar = struct.unpack_from(_FORMATS[kind], buffer, at)[0]
    return scalar, at + struct.calcsize(_FORMATS[kind])


def decoded(metadata: Metadata, keys: Iterable[str] | None = None) -> dict[str, Value]:
    """Every value of ``metadata`` (or those of ``keys``), decoded, in order."""
    return {key: decode(metadata[key]) for key in (metadata if keys is None else keys)}
