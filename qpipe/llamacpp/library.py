"""Find the wheel's shared object, check that it is the one we know, load it once.

The Python extension itself is never imported: the file is opened with ctypes. Standard library
only, so that a look at what is installed costs little.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import importlib.util
import logging
import os
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from qpipe.errors import EngineMissingError
from qpipe.llamacpp.c_api import (
    CONTEXT_DEFAULTS,
    LLAMA_VERSION,
    LOG_CONTINUED,
    LOG_ERROR,
    LOG_WARN,
    MODEL_DEFAULTS,
    PROTOTYPES,
    WHEEL,
    WHEEL_VERSION,
    LogCallback,
    differences,
)

_FIX = (
    f"Install the version that qpipe knows: pip install --force-reinstall {WHEEL}=={WHEEL_VERSION}"
)


_LOGGER = logging.getLogger("qpipe.llamacpp")
_LOG_LINES = 8
# Lines that only say that the ones before them are fatal.
_EMPTY_WORDS = "failed to load model"


class LogTail:
    """Receives what llama.cpp logs; every line also goes to ``qpipe.llamacpp`` at DEBUG.

    ``callback`` must live as long as the library may log: the C side holds its address.
    """

    def __init__(self) -> None:
        self._lines: deque[tuple[int, str]] = deque(maxlen=_LOG_LINES)
        self._level = 0
        self._pending = ""
        self.callback = LogCallback(self._receive)

    def clear(self) -> None:
        """Forget everything, so that what is read next belongs to the next call."""
        self._lines.clear()
        self._pending = ""

    def reason(self) -> str:
        """The last complaints in one line: the errors if there are any, else the warnings."""
        for level in (LOG_ERROR, LOG_WARN):
            lines = [text for severity, text in self._lines if severity == level]
            messages = [text for text in lines if _EMPTY_WORDS not in text] or lines
            if messages:
                return "; ".join(dict.fromkeys(messages))
        return "llama.cpp gave no reason"

    def _receive(self, level: int, text: bytes | None, _user_data: object) -> None:
        if level != LOG_CONTINUED:
            self._level = level
        self._pending += (text or b"").decode("utf-8", "replace")
        *lines, self._pending = self._pending.split("\n")
        for line in filter(None, map(str.strip, lines)):
            _LOGGER.debug("%s", line)
            if self._level in (LOG_WARN, LOG_ERROR):
                self._lines.append((self._level, line))


@dataclass(frozen=True)
class Library:
    """The loaded library: C functions with their prototypes set, and its log."""

    c: ctypes.CDLL
    log: LogTail
    path: Path


def problem() -> str | None:
    """Why the library cannot be used here, with what helps, or None."""
    try:
        load()
    except EngineMissingError as error:
        return str(error)
    return None


@functools.cache
def load() -> Library:
    """The library, checked, loaded and initialized once in this process.

    Sets OMP_WAIT_POLICY=passive in the environment unless it is set already: OpenMP reads it
    when the library is loaded, and its default, spinning, ruins timings on shared cores. Sets
    GGML_NO_BACKTRACE=1 too: else a debugger's pages follow ggml's last words into a worker's log.

    Raises EngineMissingError where the library is missing or not the one that is known.
    """
    path = find()
    # xllamacpp 2026.10.11549 brings OpenMP, whose default is spinning.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # ggml 0.26.0 starts a debugger when it aborts.
    os.environ.setdefault("GGML_NO_BACKTRACE", "1")
    try:
        c = ctypes.CDLL(str(path))
    except OSError as error:
        raise EngineMissingError(f"{path} cannot be loaded: {error}. {_FIX}") from error
    bind(c, path)
    check(c)
    log = LogTail()
    c.llama_log_set(log.callback, None)
    c.llama_backend_init()
    return Library(c=c, log=log, path=path)


def find() -> Path:
    """The shared object of the installed wheel; EngineMissingError if it cannot be used here."""
    if sys.platform == "win32":
        raise EngineMissingError(
            f"{WHEEL} exports no llama.cpp functions on Windows: evaluate under Linux, macOS or WSL"
        )
    spec = importlib.util.find_spec(WHEEL)
    folders = list(spec.submodule_search_locations or []) if spec else []
    if not folders:
        raise EngineMissingError(f"llama.cpp is needed and {WHEEL} is not installed. {_FIX}")
    version = installed_version()
    if version != WHEEL_VERSION:
        raise EngineMissingError(
            f"{WHEEL} {version} is installed, but its C structs are known to qpipe only for "
            f"{WHEEL_VERSION}. {_FIX}"
        )
    objects = sorted(Path(folders[0]).glob(f"{WHEEL}*.so"))
    if not objects:
        raise EngineMissingError(f"{folders[0]} holds no {WHEEL}*.so: a damaged install. {_FIX}")
    return objects[0]


def installed_version() -> str:
    """The version of the wheel that is installed, or ``unknown``."""
    try:
        return importlib.metadata.version(WHEEL)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def bind(c: ctypes.CDLL, path: Path) -> None:
    """Give every C function its prototype; EngineMissingError names the first that is missing."""
    for name, (result, arguments) in PROTOTYPES.items():
        try:
            function = getattr(c, name)
        except AttributeError as error:
            raise EngineMissingError(f"{path} does not export {name}. {_FIX}") from error
        function.restype, function.argtypes = result, arguments


def check(c: ctypes.CDLL) -> None:
    """Refuse a library whose version or struct defaults differ from what ``c_api`` says.

    The version comes first: a struct that is larger than ours would be written past its end.
    """
    # xllamacpp: builds of other versions have the same symbols and other structs.
    version = c.llama_version().decode()
    if version != LLAMA_VERSION:
        raise EngineMissingError(
            f"{WHEEL} {WHEEL_VERSION} should hold llama.cpp {LLAMA_VERSION} and holds {version}: "
            f"another build under the same number. {_FIX}"
        )
    for struct, defaults, read in (
        ("llama_model_params", MODEL_DEFAULTS, c.llama_model_default_params()),
        ("llama_context_params", CONTEXT_DEFAULTS, c.llama_context_default_params()),
    ):
        wrong = differences(read, defaults)
        if wrong:
            shown = ", ".join(f"{field} is {got}, not {want}" for field, got, want in wrong)
            raise EngineMissingError(
                f"the layout of {struct} in {WHEEL} {WHEEL_VERSION} is not the one that qpipe "
                f"knows: {shown}. {_FIX}"
            )
