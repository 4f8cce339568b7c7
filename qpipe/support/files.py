"""Files that somebody else made: opened without waiting for them, and read up to a bound.

A fifo waits for a writer, a device has no end, a name may be longer than any file's, and a file may
hold more than there is memory for: all of that is said in the words of the room that asked.
"""

from __future__ import annotations

import errno
import os
import stat

from qpipe.errors import QpipeError

TYPE_CHECKING = False  # typing's own, and pathlib, would cost `qpipe ls` their import
if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO


def open_regular(path: str | Path) -> BinaryIO:
    """``path`` for reading, a regular file. Raises OSError for whatever else it is."""
    try:
        # Without O_NONBLOCK a fifo would wait until somebody writes to it.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError:  # half a character, or a null
        raise OSError(errno.EINVAL, "no file has such a name", str(path)) from None
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(fd, "rb")
    os.close(fd)
    raise OSError(errno.EISDIR, f"it is {_kind(mode)}, not a file", str(path))


def open_file(path: Path, error: type[QpipeError]) -> BinaryIO:
    """`open_regular`, but raises ``error`` where there is no such file, naming it."""
    try:
        return open_regular(path)
    except OSError as problem:
        raise error(f"{path}: cannot be read: {problem.strerror}") from None


def read_file(path: Path, error: type[QpipeError], *, most: int) -> bytes:
    """The bytes of the regular file ``path``. Raises ``error``, also for more than ``most``."""
    with open_file(path, error) as file:
        try:
            data = up_to(file, most + 1)
        except OSError as problem:
            raise error(f"{path}: cannot be read: {problem.strerror}") from None
    if len(data) > most:
        raise error(f"{path}: it is larger than the {most:,} bytes that such a file may have")
    return data


def up_to(file: BinaryIO, most: int) -> bytes:
    """The rest of ``file``, ``most`` bytes of it at most.

    `read` itself takes memory for as many as it may read before it looks how many there are.
    """
    return file.read(min(most, os.fstat(file.fileno()).st_size + 1))


def is_file(path: Path) -> bool:
    """True if ``path`` is a regular file; False where that cannot be known.

    `Path.is_file` raises OSError for a name that is too long, or in a folder that may not be read.
    """
    return os.path.isfile(path)  # noqa: PTH113


def is_folder(path: str | Path) -> bool:
    """True if ``path`` is a folder; False where that cannot be known, as in `is_file`."""
    return os.path.isdir(path)  # noqa: PTH112


def exists(path: Path) -> bool:
    """True if there is anything at ``path``; False where that cannot be known, as in `is_file`."""
    return os.path.exists(path)  # noqa: PTH110


def expanded(path: str) -> Path:
    """The path that a user gave, with ``~`` as the shell reads it: ``~NOBODY`` stays as it is.

    `Path.expanduser` raises RuntimeError for it.
    """
    from pathlib import Path

    return Path(os.path.expanduser(path))  # noqa: PTH111


def _kind(mode: int) -> str:
    kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
    return next((name for test, name in kinds if test(mode)), "a device")


def plain_name(words: str, most: int) -> str:
    """Words as a file's name of at most ``most`` bytes, without a suffix: letters of any script,
    digits and ``.+=-_`` stay."""
    import re

    name = re.sub(r"[^\w.+=-]+", "_", words).strip("._")
    return name.encode(errors="replace")[:most].decode(errors="ignore")
