"""Programs of others on PATH: where they are, which version, and what to do without them."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from qpipe.errors import StageError
from qpipe.machine import program
from qpipe.machine.filesystem import executable

MISSING, UNKNOWN = "missing", "unknown"

_LLAMA_CPP = "build llama.cpp or install its binaries, and put their folder on PATH"


@dataclass(frozen=True)
class Tool:
    """A program: its path (None: not here) and the version that it prints of itself, `MISSING` or
    `UNKNOWN` if it prints none. ``remedy`` is the way to have it."""

    name: str
    path: Path | None
    version: str
    remedy: str

    @property
    def problem(self) -> str | None:
        """Why it cannot be used, with the remedy; None if it can."""
        return None if self.fault is None else f"{self.fault}: {self.remedy}"

    @property
    def fault(self) -> str | None:
        """Why it cannot be used; None if it can."""
        if self.path is None:
            return f"{self.name} is not on PATH"
        if self.version == UNKNOWN:
            return f"{self.path} does not run or prints no version"
        return None


class _Probe(NamedTuple):
    """The way to have a program print its version: arguments, in which ``{nowhere}`` is an empty
    folder, and patterns of which the first that matches has it. Both are empty for a program that
    says it only along with results."""

    remedy: str
    arguments: Sequence[str] = ()
    patterns: Sequence[str] = ()
    homes: Sequence[str] = ()
    """Variables that name a folder with ``bin/PROGRAM``, and such folders, after PATH."""


_PROGRAMS = {
    # llama-quantize has no option for it, but says it before it opens its input. Since 2026 as
    # `version: 0.5.0-dev (build 1, commit 0c1e570)`, before as `main: build = 1 (0c1e570)`.
    "llama-quantize": _Probe(
        _LLAMA_CPP,
        ("{nowhere}/none.gguf", "{nowhere}/out.gguf", "Q8_0"),
        (r"version: (.+)", r"build = (\d+ \(\w+\))"),
    ),
    "llama-perplexity": _Probe(_LLAMA_CPP, ("--version",), (r"version: (.+)",)),
    "llama-imatrix": _Probe(_LLAMA_CPP, ("--version",), (r"version: (.+)",)),
    "llama-server": _Probe(_LLAMA_CPP, ("--version",), (r"version: (.+)",)),
    "llama-bench": _Probe(_LLAMA_CPP),
    "nvcc": _Probe(
        "install the CUDA toolkit of torch's version, or set CUDA_HOME",
        ("--version",),
        (r"release ([\d.]+)",),
        ("CUDA_HOME", "CUDA_PATH", "/usr/local/cuda"),
    ),
    "uv": _Probe("pip install uv", ("--version",), (r"uv (\S+)",)),
}


def find(name: str) -> Tool:
    """A program by its name, asked for its version once for each place where PATH has it.

    Raises KeyError for one that this module does not know.
    """
    path = locate(name)
    version = MISSING if path is None else _version(name, path)
    return Tool(name, path, version, _PROGRAMS[name].remedy)


def locate(name: str) -> Path | None:
    """The place of a program, without starting it: on PATH, else where its own variables say."""
    if path := executable(name):
        return path
    homes = [os.environ.get(home, home) for home in _PROGRAMS[name].homes]
    places = [Path(home, "bin", name) for home in homes if home.startswith("/")]
    return next((place for place in places if place.is_file()), None)


def llama_devices(name: str) -> list[str]:
    """The devices beside the CPU that a program of llama.cpp's lists, as ``CUDA0``."""
    path = locate(name)
    return [] if path is None else _devices(name, path)


@cache
def _devices(name: str, path: Path) -> list[str]:
    lines: list[str] = []
    with contextlib.suppress(StageError, OSError):
        program.run([path, "--list-devices"], name=name, on_line=lines.append, quiet=True)
    return [match[1] for line in lines if (match := re.match(r" +(\w+): ", line))]


@cache
def _version(name: str, path: Path) -> str:
    probe = _PROGRAMS[name]
    if not probe.arguments:
        return ""
    lines: list[str] = []
    with TemporaryDirectory(prefix="qpipe-") as nowhere:
        command = [str(path), *(part.format(nowhere=nowhere) for part in probe.arguments)]
        with contextlib.suppress(StageError, OSError):  # llama-quantize fails: it has no input
            program.run(command, name=name, on_line=lines.append, quiet=True)
    text = "".join(lines)
    match = next((m for pattern in probe.patterns if (m := re.search(pattern, text))), None)
    return match[1].strip() if match else UNKNOWN
