"""The body of an answer over HTTP, in pieces as large as the network brings them.

httpx (0.28, over httpcore 1.0 and h11 0.16) takes a body from the socket 64 KiB at a time and
copies each piece three times: of a fast connection, two thirds of a core's time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

# Bytes that are read at a time.
_PIECE = 1 << 20
# Bytes of a body that are worth its connection, which takes no other request then.
_LARGE = 8 << 20


def pieces(answer: httpx.Response) -> Iterator[bytes]:
    """The bytes of the file that an answer brings, decompressed if they come compressed.

    Those of a large file come from the connection itself, once the answer's head and what came with
    that are read. Raises what `httpx.Response.iter_bytes` raises.
    """
    parts = answer.iter_bytes()
    yield (first := next(parts, b""))
    left = _length(answer) - len(first)
    if left < _LARGE:
        yield from parts
    else:
        yield from _from_connection(answer, left)


def _length(answer: httpx.Response) -> int:
    """The bytes of a body if they are all that is to come of its connection, else 0."""
    length = answer.headers.get("Content-Length", "")
    plain = (
        answer.extensions.get("http_version") == b"HTTP/1.1"
        and "network_stream" in answer.extensions
        and "Transfer-Encoding" not in answer.headers
        and answer.headers.get("Content-Encoding", "identity") == "identity"
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
