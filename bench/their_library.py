"""qpipe's loop on the library of a llama.cpp that was built here, beside that one's own programs.

The wheel's is another version by another compiler: what is the loop's and what the kernels' cannot
be told apart with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from qpipe.llamacpp import library
from qpipe.llamacpp.c_api import (
    CONTEXT_DEFAULTS,
    MODEL_DEFAULTS,
    ContextParams,
    differences,
)
from qpipe.llamacpp.library import LogTail

# What the wheel's llama_context_params has and that of llama.cpp 0.5 has not.
_NEWER = "moe_cache_size"


class _Older(ctypes.Structure):
    """``llama_context_params`` of llama.cpp 0.5."""

    _fields_ = [field for field in ContextParams._fields_ if field[0] != _NEWER]


@contextlib.contextmanager
def their_library(programs: Path) -> Iterator[None]:
    """Models opened here are computed by the libllama beside these ``programs``.

    Raises RuntimeError for a version whose structs are not known.
    """
    found = _load(programs / "libllama.so")
    with mock.patch.object(library, "load", lambda: found):
        yield


def _load(path: Path) -> library.Library:
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    c = ctypes.CDLL(str(path))
    library.bind(c, path)
    defaults: dict[str, Any] = dict(CONTEXT_DEFAULTS)
    if c.llama_version().decode().startswith("0.5."):
        c.llama_context_default_params.restype = _Older
        c.llama_init_from_model.argtypes = [c.llama_init_from_model.argtypes[0], _Older]
        defaults.pop(_NEWER, None)
    for known, read in (
        (MODEL_DEFAULTS, c.llama_model_default_params()),
        (defaults, c.llama_context_default_params()),
    ):
        if wrong := differences(read, known):
            raise RuntimeError(f"{path} lays its structs out in another way: {wrong}")
    log = LogTail()
    c.llama_log_set(log.callback, None)
    c.llama_backend_init()
    return library.Library(c=c, log=log, path=path)
