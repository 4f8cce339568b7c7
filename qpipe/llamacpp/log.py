"""llama.cpp's log: quiet, with its last complaints kept for error messages."""

from __future__ import annotations

import logging
from collections import deque

from qpipe.llamacpp.structs import LOG_CONTINUED, LOG_ERROR, LOG_WARN, LogCallback

_LOGGER = logging.getLogger("qpipe.llamacpp")
_KEPT = 8
# Lines that only say that the ones before them are fatal.
_EMPTY_WORDS = "failed to load model"


class LogTail:
    """Receives what llama.cpp logs; every line also goes to ``qpipe.llamacpp`` at DEBUG.

    ``callback`` must live as long as the library may log: the C side holds its address.
    """

    def __init__(self) -> None:
        self._lines: deque[tuple[int, str]] = deque(maxlen=_KEPT)
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
            lines = [text for kept, text in self._lines if kept == level]
            telling = [text for text in lines if _EMPTY_WORDS not in text] or lines
            if telling:
                return "; ".join(dict.fromkeys(telling))
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
