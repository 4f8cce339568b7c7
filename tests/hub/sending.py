"""Bodies: ranges of files straight from the disk, and the ways in which they go wrong."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
import time
from collections.abc import Callable, Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import IO

from tests.hub.faults import Cut, Damaged, Fault, Short, Stall

_CHUNK = 1 << 20
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def skip(stream: BufferedIOBase, count: int) -> None:
    """Read what nobody wants to know."""
    while count > 0 and (data := stream.read(min(count, _CHUNK))):
        count -= len(data)


def span(header: str | None, size: int) -> tuple[int, int] | None:
    """First byte and the one past the last that a Range header asks for; None for all bytes.

    Raises ValueError where it asks for none that there is.
    """
    match = _RANGE.fullmatch(header or "")
    if match is None or match[0] == "bytes=-":
        return None
    if not match[1]:
        return max(0, size - int(match[2])), size
    begin = int(match[1])
    end = min(size, int(match[2]) + 1) if match[2] else size
    if begin >= end:
        raise ValueError(header)
    return begin, end


def length(size: int, fault: Fault | None) -> int:
    """Bytes of a file, as far as the server lets on."""
    return size - fault.count if isinstance(fault, Short) else size


def send(connection: socket.socket, path: Path, begin: int, end: int, fault: Fault | None) -> bool:
    """Send bytes of a file; False if the connection is of no more use."""
    if isinstance(fault, Cut):
        _file(connection, path, begin, min(end, begin + fault.after))
        _hang_up(connection, reset=fault.reset)
        return False
    if isinstance(fault, Stall):
        _file(connection, path, begin, min(end, begin + fault.after))
        time.sleep(fault.seconds)
        begin = min(end, begin + fault.after)
    if isinstance(fault, Damaged):
        for piece in _damaged(path, begin, end, fault.count):
            connection.sendall(piece)
        return True
    return _file(connection, path, begin, end)


def _file(connection: socket.socket, path: Path, begin: int, end: int) -> bool:
    """Have the kernel send bytes of a file."""
    with path.open("rb") as file, contextlib.suppress(OSError):
        while begin < end:
            sent = os.sendfile(connection.fileno(), file.fileno(), begin, end - begin)
            if sent == 0:
                break
            begin += sent
    return begin >= end


def _damaged(path: Path, begin: int, end: int, count: int) -> Iterator[bytes]:
    """Bytes of a file, the last ``count`` of it as zeros."""
    whole = path.stat().st_size - count
    with path.open("rb") as file:
        file.seek(begin)
        while begin < end and (data := file.read(min(_CHUNK, end - begin))):
            good = max(0, min(len(data), whole - begin))
            yield data[:good] + bytes(len(data) - good)
            begin += len(data)


def _hang_up(connection: socket.socket, *, reset: bool) -> None:
    if reset:  # closed with bytes unsent, at once: the other side is told so
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        time.sleep(0.1)  # what was sent is there before the reset, which throws away the rest
        connection.close()
    else:
        connection.shutdown(socket.SHUT_RDWR)


def receive(
    stream: BufferedIOBase, count: int, file: IO[bytes], seen: Callable[[bytes], None]
) -> int:
    """Write the body of a request to a file as it comes; its bytes, fewer if it was cut."""
    begin = count
    while count > 0 and (data := stream.read(min(count, _CHUNK))):
        file.write(data)
        seen(data)
        count -= len(data)
    return begin - count
