"""A terminal of some width: what a program wrote to it, and what stood on it meanwhile."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import sys
import termios
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.cells import cell_len

_TOKENS = re.compile(r"\x1b\[[?0-9;]*[A-Za-z]|\r|\n|[^\x1b\r\n]+")


@dataclass
class Screen:
    """Lines as a terminal shows them that has room for all; ``widest`` is what a line would take.

    ``erased`` counts the lines that were erased at a time, ``other`` the sequences that are neither
    colours, the cursor's sight, moves up, nor the erasing of a line: clearing more would flicker.
    """

    width: int
    lines: list[str] = field(default_factory=lambda: [""])
    written: set[str] = field(default_factory=set)
    erased: list[int] = field(default_factory=list)
    other: list[str] = field(default_factory=list)
    row: int = 0

    def feed(self, text: str) -> None:
        """Show what a program wrote."""
        erasing = False
        for token in _TOKENS.findall(text):
            if token == "\n":
                self._newline()
            elif token == "\x1b[2K":
                self.lines[self.row] = ""
                self.erased = [*self.erased, 1] if not erasing else self.erased
                self.erased[-1] += erasing
            elif token.startswith("\x1b") and token[-1] == "A":
                self.row -= int(token[2:-1] or 1)
                assert self.row >= 0, "it moved above what it had written"
            elif token.startswith("\x1b"):
                if token[-1] != "m" and token not in ("\x1b[?25l", "\x1b[?25h"):
                    self.other.append(token)
            elif token != "\r":
                self.lines[self.row] += token
                self.written.add(self.lines[self.row])
            erasing = token == "\x1b[2K" or (erasing and token[-1] in "A\r")

    def _newline(self) -> None:
        self.row += 1
        if self.row == len(self.lines):
            self.lines.append("")

    @property
    def too_long(self) -> list[str]:
        """The lines that were at any time wider than the terminal."""
        return sorted(line for line in self.written if cell_len(line) > self.width)


def record(
    arguments: Sequence[str], *, width: int, cwd: Path, env: Mapping[str, str]
) -> tuple[int, str]:
    """Run ``python -m qpipe`` on a terminal; its exit code, and all that it wrote there."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(cwd)
        command = [sys.executable, "-m", "qpipe", *arguments]
        os.execve(sys.executable, command, {**env, "TERM": "xterm-256color"})
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, width, 0, 0))
    parts: list[bytes] = []
    try:
        while part := os.read(terminal, 1 << 16):
            parts.append(part)
    except OSError:  # Linux: EIO once nobody has the other end open
        pass
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        raise
    finally:
        os.close(terminal)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), b"".join(parts).decode()
