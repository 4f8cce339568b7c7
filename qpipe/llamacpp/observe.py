"""What a decode computes: the nodes of llama.cpp's graph, shown one by one.

llama.cpp calls back twice (ggml/src/ggml-backend.cpp, ggml_backend_sched_compute_splits): before a
node, to ask whether it matters, and, if so, right after it was computed, while its operands are
still in memory.
"""

from __future__ import annotations

import ctypes
from types import TracebackType
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from qpipe.errors import EngineMissingError
from qpipe.llamacpp.c_api import (
    OPERATIONS,
    TENSOR_OVERHEAD,
    TYPE_F32,
    TYPE_I32,
    WHEEL,
    WHEEL_VERSION,
    EvalCallback,
    TensorStruct,
)
from qpipe.llamacpp.library import Library

_Number = TypeVar("_Number", np.float32, np.int32)


class GraphTensor:
    """A ``ggml_tensor``; valid only while the observer that is shown it runs."""

    def __init__(self, lib: Library, address: int) -> None:
        self._lib = lib
        self._address = address
        self._struct = TensorStruct.from_address(address)

    @property
    def name(self) -> str:
        """The tensor's name in llama.cpp."""
        return bytes(self._struct.name).decode("utf-8", "replace")

    @property
    def operation(self) -> int:
        """The number of the operation that makes it, see ``c_api.OPERATIONS``."""
        return int(self._struct.op)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """In numpy's order: ggml's ne, reversed."""
        n0, n1, n2, n3 = self._struct.ne
        return n3, n2, n1, n0

    @property
    def is_float32(self) -> bool:
        """True if it is of type F32."""
        return int(self._struct.type) == TYPE_F32

    def operand(self, index: int) -> GraphTensor:
        """One of the tensors that it is computed from."""
        address = self._struct.src[index]
        assert address, f"{self.name!r} has no source {index}"
        return GraphTensor(self._lib, address)

    def floats(self) -> npt.NDArray[np.float32]:
        """A copy of its data [ne3, ne2, ne1, ne0], float32, wherever it lies."""
        assert self.is_float32, f"{self.name!r} is of type {self._struct.type}"
        return self._copy(np.float32)

    def integers(self) -> npt.NDArray[np.int32]:
        """The same of a tensor of int32."""
        assert self._struct.type == TYPE_I32, f"{self.name!r} is of type {self._struct.type}"
        return self._copy(np.int32)

    def _copy(self, kind: type[_Number]) -> npt.NDArray[_Number]:
        data = np.empty(self._lib.c.ggml_nbytes(self._address), np.uint8)
        self._lib.c.ggml_backend_tensor_get(self._address, data.ctypes.data, 0, data.nbytes)
        return np.ndarray(self.shape, kind, data, strides=tuple(reversed(self._struct.nb)))


class Observer(Protocol):
    """Whoever wants to look at a computation."""

    def wants(self, tensor: GraphTensor) -> bool:
        """True to be shown ``tensor`` once it is computed; each that is shown costs a pause."""

    def see(self, tensor: GraphTensor) -> None:
        """Look at ``tensor``, just computed."""


class Watch:
    """The C callback in front of an observer; keep it as long as the context that has it.

    Nothing can be raised through C: an error stops the computation and waits for ``reraise``.
    Raises EngineMissingError if the library's tensors are not the ones that ``c_api`` knows.
    """

    def __init__(self, lib: Library, observer: Observer) -> None:
        check(lib.c)
        self._lib = lib
        self._observer = observer
        self._error: BaseException | None = None
        self._callback = EvalCallback(self._called)
        self.address = ctypes.cast(self._callback, ctypes.c_void_p).value

    def reraise(self) -> None:
        """Raise what the observer raised since the last call."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _called(self, address: int, ask: bool, _user_data: object) -> bool:
        """Asked: is the node wanted? Told: shall the computation go on?"""
        if self._error:
            # llama.cpp 0.6.0-dev stops only at a node that was "wanted".
            return ask
        with self:
            tensor = GraphTensor(self._lib, address)
            if ask:
                return self._observer.wants(tensor)
            self._observer.see(tensor)
            return True
        return ask

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        self._error = self._error or error
        return error is not None


def check(c: ctypes.CDLL) -> None:
    """Refuse a library whose ``ggml_tensor`` or operations have another size or number."""
    sizes = [("sizeof(ggml_tensor)", c.ggml_tensor_overhead(), TENSOR_OVERHEAD)]
    names = [(name, c.ggml_op_name(number).decode(), name) for name, number in OPERATIONS.items()]
    for name, actual, expected in [*sizes, *names]:
        if actual != expected:
            raise EngineMissingError(
                f"{name} in {WHEEL} {WHEEL_VERSION} is {actual} and not {expected}, as qpipe knows "
                f"it: pip install --force-reinstall {WHEEL}=={WHEEL_VERSION}"
            )
