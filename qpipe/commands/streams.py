"""The standard streams as a command finds them: closed, full, or of an encoding without Δ.

A run of hours does not end because nobody reads its progress: what cannot be written to stderr is
dropped. An answer that cannot be written to stdout is an error, after everything else was done.
"""

from __future__ import annotations

import io
import os
import sys

from qpipe.errors import QpipeError


class AnswerLostError(QpipeError):
    """The answer of a command could not be written."""


class _Raw(io.RawIOBase):
    """A file descriptor to write to.

    What cannot be written is dropped (``dropping``), or raises `AnswerLostError`.
    """

    def __init__(self, descriptor: int, *, dropping: bool) -> None:
        self._descriptor = descriptor
        self._dropping = dropping

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Write bytes and return their number.

        Raises BrokenPipeError where a reader of stdout went away.
        """
        try:
            return os.write(self._descriptor, data)
        except OSError as error:
            if self._dropping:
                return len(data)
            if isinstance(error, BrokenPipeError):
                raise
            raise AnswerLostError(
                f"the answer could not be written to stdout: {error.strerror}"
            ) from None

    def writable(self) -> bool:
        """True, always."""
        return True

    def fileno(self) -> int:
        """The number of the descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """True if the descriptor is a terminal."""
        return os.isatty(self._descriptor)


def prepare() -> None:
    """Replace stdout and stderr, if they are Python's own, by streams that fail as told above."""
    _open_closed()
    if sys.stdout is sys.__stdout__:
        sys.stdout = _stream(sys.stdout, 1, dropping=False)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _stream(sys.stderr, 2, dropping=True)


def give_up_stdout() -> None:
    """Let Python flush stdout at its exit, once more, into nothing."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _open_closed() -> None:
    """Open /dev/null on descriptors that are closed: the next file that is opened would take their
    place, and get what is printed."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # POSIX: takes the lowest number that is free


def _stream(stream: object, descriptor: int, *, dropping: bool) -> io.TextIOWrapper:
    encoding = stream.encoding if isinstance(stream, io.TextIOWrapper) else "utf-8"
    # Python's own errors="strict" would end a command for a name that is no UTF-8.
    errors = "backslashreplace" if encoding.lower() == "utf-8" or dropping else "replace"
    raw = _Raw(descriptor, dropping=dropping)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),  # type: ignore[type-var]
        encoding=encoding,
        errors=errors,
        line_buffering=dropping or raw.isatty(),
    )
