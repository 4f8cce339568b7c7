"""Rows of tensors that are computed, as those of tensors that are stored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from qpipe.gguf.arch import views
from qpipe.gguf.arch.dims import Dims
from qpipe.gguf.computed import ComputedTensor
from qpipe.gguf.rows import SafetensorsRows, matrix_rows
from qpipe.gguf.safetensors import StoredTensor
from qpipe.gguf.types import GGMLType


@dataclass(frozen=True)
class Counted(ComputedTensor):
    """Row n holds n, and is kept as Q8_0 blocks full of n."""

    @property
    def kept(self) -> GGMLType:
        return GGMLType.Q8_0

    def floats(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        rows = np.arange(start, stop, dtype=np.float32)
        return np.repeat(rows[:, None], self.shape[-1], axis=1)

    def raw(self, start: int, stop: int) -> npt.NDArray[np.uint8]:
        return np.repeat(np.arange(start, stop, dtype=np.uint8)[:, None], 34, axis=1)


def counted(*shape: int, dtype: str = "BF16") -> Counted:
    return Counted(Path("model.safetensors"), "a.weight", dtype, shape, 0, 0)


DIMS = Dims(hidden=32, ffn=8, layers=1, heads=2, kv_heads=2, head_dim=16, vocab=8)


def shown(tensor: StoredTensor, view: views.View) -> SafetensorsRows:
    return SafetensorsRows(tensor, tensor.shape[-1], lambda stored: view(stored, DIMS))


def test_computed_rows_are_reordered_as_stored_ones() -> None:
    order = np.arange(32).reshape(2, 2, 8).swapaxes(1, 2).reshape(-1)
    rows = shown(counted(32, 32), views.rotary("heads"))

    assert rows.floats(5, 21)[:, 0].tolist() == order[5:21].tolist()
    assert rows.raw(5, 21)[:, 0].tolist() == order[5:21].tolist()
    assert rows.type is GGMLType.Q8_0
    assert rows.count == 32


def test_computed_columns_become_rows() -> None:
    """[experts, in, out] as [experts, out, in], by rows of several experts."""
    rows = SafetensorsRows(counted(3, 4, 5), 4, lambda stored: views.transposed(stored, DIMS))
    whole = np.repeat(np.arange(12.0)[:, None], 5, axis=1).reshape(3, 4, 5).swapaxes(1, 2)

    assert rows.count == 15
    assert rows.floats(3, 12).tolist() == whole.reshape(15, 4)[3:12].tolist()


def test_weights_are_computed_in_the_precision_of_the_tensor() -> None:
    def more(weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return weights + weights.dtype.type(0.6)

    # In half precision there is nothing between 2048 and 2050.
    half, single = (
        SafetensorsRows(counted(2100, 1, dtype=dtype), 1, compute=more) for dtype in ("F16", "BF16")
    )
    assert half.floats(2048, 2049)[0, 0] == 2048
    assert single.floats(2048, 2049)[0, 0] == np.float32(2048.6)


def test_a_tensor_of_three_dimensions_is_read_as_one_matrix(tmp_path: Path) -> None:
    numbers = np.arange(24, dtype="<f4").reshape(2, 3, 4)
    (tmp_path / "data").write_bytes(bytes(8) + numbers.tobytes())
    tensor = StoredTensor(tmp_path / "data", "a", "F32", (2, 3, 4), 8, 96)

    assert (matrix_rows(tensor, 2, 5) == numbers.reshape(6, 4)[2:5]).all()
