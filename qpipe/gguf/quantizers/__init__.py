"""float32 rows → the bytes of a ggml type; one module per family of types.

A module declares ``QUANTIZERS``, and that alone registers it; a name with ``_`` in front is no
family. `last_resort` (ggml's own C code) serves the types that no other module declares.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

from qpipe import errors
from qpipe.gguf.types import GGMLType

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


class Quantizer(Protocol):
    """The function that a module declares for each of its types."""

    def __call__(self, rows: Floats, /, *, imatrix: Floats | None = None) -> Bytes:
        """float32 [rows, n_per_row], finite → uint8 [rows, bytes per row].

        ``imatrix`` [n_per_row] weighs the columns of every row; a type without use for it
        ignores it. Raises `OverflowError` where a finite weight has no finite image in the type.
        """


_LAST = "last_resort"


@functools.cache
def _registered() -> Mapping[GGMLType, Quantizer]:
    quantizers: dict[GGMLType, Quantizer] = {}
    modules = {module.name for module in pkgutil.iter_modules(__path__)} - {_LAST}
    names = sorted(name for name in modules if not name.startswith("_"))
    for name in (_LAST, *names):
        module = importlib.import_module(f"{__name__}.{name}")
        quantizers |= module.QUANTIZERS
    return quantizers


def writes(kind: GGMLType) -> bool:
    """True if `quantizer` has a function for ``kind``."""
    return kind in _registered()


def quantizer(kind: GGMLType) -> Quantizer:
    """The function that writes ``kind``; `EngineMissingError` if qpipe has none."""
    try:
        return _registered()[kind]
    except KeyError:
        names = ", ".join(sorted(each.name for each in _registered()))
        raise errors.EngineMissingError(
            f"qpipe cannot write the tensor type {kind.name}; it writes {names}"
        ) from None
