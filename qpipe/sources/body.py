"""The body of an answer over HTTP, whole or not at all, in pieces as large as the network brings
them.

httpx (0.28, over httpcore 1.0 and h11 0.16) takes a body from the socket 64 KiB at a time and
copies each piece three times: of a fast connection, two thirds of a core's time. Of a body that
comes compressed it passes on what there is of it where that ends early, takes the first of several
gzip members for all of them, and a body in a compression that it does not know for the file.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

GZIP = ("gzip", "x-gzip")
"""The compression that can be undone, by its names."""

# Bytes that are read at a time.
_PIECE = 1 << 20
# Bytes of a body that are worth its connection, which takes no other request then.
_LARGE = 8 << 20
_GZIP_FORMAT = 16 + zlib.MAX_WBITS


def pieces(answer: httpx.Response) -> Iterator[bytes]:
    """The bytes of the file that an answer brings, decompressed if they come compressed.

    Those of a large file come from the connection itself, once the answer's head and what came with
    that are read. Raises what `httpx.Response.iter_raw` raises, where fewer came than were
    announced too, and httpx.DecodingError for what cannot be decompressed.
    """
    parts = answer.iter_raw()
    if (packing := packed(answer)) is not None:
        yield from _unpacked(answer, parts, packing)
        return
    yield (first := next(parts, b""))
    left = _length(answer) - len(first)
    if left < _LARGE:
        yield from parts
    else:
        yield from _from_connection(answer, left)


def packed(answer: httpx.Response) -> str | None:
    """The compression of a body, None if it has none."""
    packing = answer.headers.get("Content-Encoding", "").strip().lower()
    return None if packing in ("", "identity") else packing


def has_end(answer: httpx.Response) -> bool:
    """True if the end of a body is told from a connection that was cut."""
    return "Content-Length" in answer.headers or "Transfer-Encoding" in answer.headers


def _unpacked(answer: httpx.Response, parts: Iterable[bytes], packing: str) -> Iterator[bytes]:
    """The bytes that one gzip member, or several, stand for: they end with a checksum each."""
    import httpx

    if packing not in GZIP:
        raise httpx.DecodingError(f"it comes as {packing}", request=answer.request)
    unzip = zlib.decompressobj(_GZIP_FORMAT)
    try:
        for part in parts:
            while part:
                if unzip.eof:
                    unzip = zlib.decompressobj(_GZIP_FORMAT)
                yield unzip.decompress(part)
                part = unzip.unused_data
    except zlib.error as error:
        raise httpx.DecodingError(str(error), request=answer.request) from error
    if not unzip.eof:
        raise httpx.DecodingError("it ends before its end", request=answer.request)


def _length(answer: httpx.Response) -> int:
    """The bytes of a body if they are all that is to come of its connection, else 0."""
    length = answer.headers.get("Content-Length", "")
    plain = (
        answer.extensions.get("http_version") == b"HTTP/1.1"
        and "network_stream" in answer.extensions
        and "Transfer-Encoding" not in answer.headers
    )
    return int(length) if plain and length.isdecimal() else 0


def _from_connection(answer: httpx.Response, left: int) -> Iterator[bytes]:
    import httpcore
    import httpx

    stream = answer.extensions["network_stream"]
    timeout = answer.request.extensions.get("timeout", {}).get("read")
    try:
        while left:
            piece = stream.read(min(left, _PIECE), timeout)
            if not piece:
                raise httpx.RemoteProtocolError(f"the connection was closed {left} bytes early")
            left -= len(piece)
            yield piece
    except httpcore.TimeoutException as error:
        raise httpx.ReadTimeout(str(error), request=answer.request) from error
    except httpcore.NetworkError as error:
        raise httpx.ReadError(str(error), request=answer.request) from error
