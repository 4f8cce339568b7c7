"""The weights of a loaded model, replaced: what a file would compute with others in it."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from qpipe.errors import CheckpointError
from qpipe.llamacpp.c_api import TensorStruct
from qpipe.llamacpp.model import Model

GET_TENSOR = "_ZNK11llama_model10get_tensorEPKc"
Bytes = npt.NDArray[np.uint8]


class TensorType(Protocol):
    """A ggml type: its number, and the bytes of its blocks and rows."""

    @property
    def number(self) -> int:
        """The number in ``enum ggml_type``."""

    @property
    def block_bytes(self) -> int:
        """The bytes of a block."""

    def row_bytes(self, n_per_row: int) -> int:
        """The bytes of a row."""


class LoadedWeights:
    """The tensors of a model that was opened ``writable``, by name.

    A tensor may take another type in its place, if it takes no more room there: llama.cpp asks a
    tensor for its type whenever it computes with it (0.6.0-dev, ggml_graph_plan and
    ggml_compute_forward), and so computes just what it does with a file that has it so.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self._room: dict[str, int] = {}

    def __contains__(self, name: str) -> bool:
        """True if llama.cpp has a tensor of that name."""
        return bool(self._find(name))

    def replace(self, name: str, data: Bytes, kind: TensorType) -> None:
        """Write ``data``, all bytes of a tensor as a file has them in type ``kind``, in its place.

        Raises CheckpointError for a tensor that llama.cpp does not have, or of another size.
        """
        address = self._find(name)
        if not address:
            raise self._unfit(name, data, "has none of that name")
        tensor = TensorStruct.from_address(address)
        nbytes = self.model.lib.c.ggml_nbytes
        room = self._room.setdefault(name, nbytes(address))
        rows = tensor.ne[1] * tensor.ne[2] * tensor.ne[3]
        size = rows * kind.row_bytes(tensor.ne[0])
        if size != data.nbytes:
            raise self._unfit(name, data, f"holds {size:,} bytes in that type")
        if size > room:
            raise self._unfit(name, data, f"has room for {room:,} bytes")
        _retype(tensor, kind)
        source = np.ascontiguousarray(data)
        self.model.lib.c.ggml_backend_tensor_set(address, source.ctypes.data, 0, source.nbytes)

    def _unfit(self, name: str, data: Bytes, held: str) -> CheckpointError:
        return CheckpointError(
            f"{self.model.path}: {data.nbytes:,} bytes are to take the place of tensor "
            f"{name!r}, and llama.cpp {held}"
        )

    def _find(self, name: str) -> int | None:
        address: int | None = getattr(self.model.lib.c, GET_TENSOR)(
            self.model.pointer, name.encode()
        )
        return address


def _retype(tensor: TensorStruct, kind: TensorType) -> None:
    """Give a tensor a type, and the strides of one (ggml.c, ggml_new_tensor_impl)."""
    tensor.type = kind.number
    tensor.nb[0] = kind.block_bytes
    tensor.nb[1] = kind.row_bytes(tensor.ne[0])
    for axis in (2, 3):
        tensor.nb[axis] = tensor.nb[axis - 1] * tensor.ne[axis - 1]
