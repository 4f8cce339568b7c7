"""Word of kernels that are being compiled, for whoever waits: a first use can take many seconds.

It is told apart from reading numba's cache, which takes milliseconds, by the time that it takes.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

# Seconds after which it is no reading of the cache any more.
_SOON = 0.3

_listeners: list[Callable[[], None]] = []


@contextlib.contextmanager
def listening(listener: Callable[[], None]) -> Iterator[None]:
    """Have a listener called, in some thread, for each kernel that is compiled in a block."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


@contextlib.contextmanager
def compiling() -> Iterator[None]:
    """Tell the listeners if a block, in which a kernel is compiled or read, takes long."""
    told = threading.Timer(_SOON, lambda: [listener() for listener in [*_listeners]])
    told.daemon = True
    told.start()
    try:
        yield
    finally:
        told.cancel()
