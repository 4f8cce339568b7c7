"""The weights of a loaded model, replaced: what a file would compute with other numbers in it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qpipe.errors import CheckpointError
from qpipe.llamacpp.model import Model

GET_TENSOR = "_ZNK11llama_model10get_tensorEPKc"
Bytes = npt.NDArray[np.uint8]


class LoadedWeights:
    """The tensors of a model that was opened ``writable``, by name, each in its own type."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def __contains__(self, name: str) -> bool:
        """True if llama.cpp has a tensor of that name."""
        return bool(self._find(name))

    def replace(self, name: str, data: Bytes) -> None:
        """Write ``data``, all bytes of a tensor as the file has them, in their place.

        Raises CheckpointError for a tensor that llama.cpp does not have, or of another size.
        """
        address = self._find(name)
        size = self.model.lib.c.ggml_nbytes(address) if address else None
        if size != data.nbytes:
            held = "has none of that name" if size is None else f"holds {size:,} bytes"
            raise CheckpointError(
                f"{self.model.path}: {data.nbytes:,} bytes are to take the place of tensor "
                f"{name!r}, and llama.cpp {held}"
            )
        source = np.ascontiguousarray(data)
        self.model.lib.c.ggml_backend_tensor_set(address, source.ctypes.data, 0, source.nbytes)

    def _find(self, name: str) -> int | None:
        address: int | None = getattr(self.model.lib.c, GET_TENSOR)(
            self.model.pointer, name.encode()
        )
        return address
