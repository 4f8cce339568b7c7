"""How kernels are compiled and cached."""

from __future__ import annotations

import functools
import hashlib
import itertools
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt
from numba.core.bytecode import FunctionIdentity
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target
from numba.core.runtime.nrt import rtsys

from qpipe import errors
from qpipe.gguf.compiling import compiling

LANES = 64
"""Sub-blocks side by side: eight AVX registers of float32."""

UNROLLED = 8
"""Weights per trip of a hot loop: sums stay in registers, and LLVM still vectorizes over lanes."""

SUPERBLOCK = 256

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Kernel = Callable[[Floats, Floats, Bytes], None]
"""(weights [blocks * 256], importance [n_per_row] or empty, out [blocks, bytes per block])."""

_Function = TypeVar("_Function", bound=Callable[..., Any])
_FLOATS = numba.types.Array(numba.float32, 1, "C", readonly=True)
_SIGNATURE = numba.void(_FLOATS, _FLOATS, numba.uint8[:, ::1])
_compiling = threading.Lock()


def inner(function: _Function) -> _Function:
    """Compile as a part of the kernels that call it: IEEE arithmetic, division by zero included."""
    options: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return cast(_Function, numba.njit(nogil=True, error_model="numpy", **options)(function))


@functools.cache
def _sources() -> str:
    """A digest of all kernels' source text.

    numba keys a cached function by its own bytecode and closure, not by what it calls; with this
    in the closure a change to any of these files compiles anew.
    """
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _apart(function: Kernel, weighted: bool) -> Kernel:
    """``function`` under a name of its own for each variant, source and processor.

    numba numbers the compiled variants of one name in an index that it writes without a lock: of
    two processes that compile two of them at once, one may later be given the other's code.
    """
    # numba 0.68.1: an index without a lock.
    target = cpu_target.target_context.codegen().magic_tuple()
    digest = hashlib.sha256(repr((weighted, _sources(), target)).encode()).hexdigest()
    function.__qualname__ += f"-{digest[:32]}"
    return function


def _number_anew() -> None:
    """Have the next compiled functions numbered from a random start instead of from 1.

    numba tells closures of one qualified name apart by counting, and the linker takes the first of
    two symbols of one name: without this, kernels that two processes compiled and cached would, in
    a third, call each other's parts.
    """
    # numba 0.68.1: counts from 1 in every process.
    FunctionIdentity._unique_ids = itertools.count(secrets.randbits(63))


@functools.cache
def _compile(build: Callable[[str, bool], Kernel], weighted: bool) -> Kernel:
    _number_anew()
    try:
        with compiling():
            options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "cache": True}
            kernel = numba.njit(**options)(_apart(build(_sources(), weighted), weighted))
            if not _recalled(kernel):
                kernel.compile(_SIGNATURE)
            kernel.disable_compile()
    except RuntimeError as error:
        # numba 0.68.1 has no class of its own for this.
        if "no locator available" not in str(error):
            raise
        raise errors.EngineMissingError(
            "the K-quants are compiled on first use, and neither qpipe's own folder nor your cache "
            "folder can be written to: set NUMBA_CACHE_DIR to a folder that can"
        ) from error
    return cast(Kernel, kernel)


def _recalled(kernel: Any) -> bool:
    """Take a kernel from numba's cache, as `compile` would; False if it is not there.

    `compile` first fills numba's tables of all that it can compile, and imports scipy's algebra for
    them: more than half a second, which a kernel that is compiled already has no use for.
    """
    # numba 0.68.1: private. A version without it takes the half second.
    load = getattr(kernel._cache, "_load_overload", None)
    if load is None:
        return False
    with global_compiler_lock:
        rtsys.initialize(kernel.targetctx)
        overload = load(_SIGNATURE, kernel.targetctx)
        if overload is not None:
            kernel._cache_hits[_SIGNATURE] += 1
            kernel.add_overload(overload)
    return overload is not None


def kernel(build: Callable[[str, bool], Kernel], *, weighted: bool) -> Kernel:
    """The compiled ``build(sources, weighted)``: from memory, from numba's cache, or made now.

    ``build`` returns a closure over both of its arguments. Raises `EngineMissingError` where
    numba finds no folder to keep compiled code in.
    """
    with _compiling:
        return _compile(build, weighted)
