"""The number of threads of libraries that are loaded already, by their own functions: those that
are loaded later read OMP_NUM_THREADS. Linux only.
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Callable
from pathlib import Path

# OpenBLAS as numpy 2's and scipy's wheels have it, plain OpenBLAS, OpenMP of GCC and LLVM, MKL.
_SETTERS = (
    "scipy_openblas_set_num_threads64_",
    "scipy_openblas_set_num_threads",
    "openblas_set_num_threads64_",
    "openblas_set_num_threads",
    "omp_set_num_threads",
    "MKL_Set_Num_Threads",
)
_LIBRARIES = re.compile(r"(openblas|gomp|iomp5|omp|mkl_rt|blis)[-._\w]*\.so")


def libraries() -> dict[str, Callable[[int], object] | None]:
    """Map the path of each such library of this process to what sets its threads; None if nothing
    is known that does."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    paths = dict.fromkeys(line.split(maxsplit=5)[5] for line in lines if line.count("/"))
    return {path: _setter(path) for path in paths if _LIBRARIES.match(_stem(path))}


def set_threads(count: int) -> None:
    """Set it in all of them, and in torch, whose copy of MKL has no name of its own."""
    for setter in libraries().values():
        if setter is not None:
            setter(count)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(count)


def _stem(path: str) -> str:
    name = path.rpartition("/")[2]
    return name.removeprefix("lib").removeprefix("scipy_")


def _setter(path: str) -> Callable[[int], object] | None:
    library = ctypes.CDLL(path)
    found = (getattr(library, name, None) for name in _SETTERS)
    return next((setter for setter in found if setter is not None), None)
