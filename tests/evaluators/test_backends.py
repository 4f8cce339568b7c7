"""A model larger than memory is refused before it is loaded, with the numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qpipe.errors import OutOfMemoryError
from qpipe.evaluators.common.backends import LlamaCpp, Transformers
from qpipe.evaluators.common.computing import checkpoint_memory
from qpipe.machine.capacity import usable_memory


def _sparse(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)


def test_a_gguf_file_larger_than_memory(tmp_path: Path) -> None:
    """A real file of so many bytes, none of them written."""
    size = 10 * usable_memory()
    _sparse(tmp_path / "model.gguf", size)
    with pytest.raises(OutOfMemoryError, match=r"model\.gguf needs about [\d.]+ GB .* has [\d.]+"):
        LlamaCpp.open(tmp_path, None, threads=1)


@pytest.mark.parametrize(("dtype", "times"), [("bfloat16", 2), ("float32", 1)])
def test_a_checkpoint_is_counted_in_float32(tmp_path: Path, dtype: str, times: int) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"dtype": dtype}))
    _sparse(tmp_path / "model.safetensors", 1000)
    assert checkpoint_memory(tmp_path) == times * 1000
    (tmp_path / "config.json").write_text(
        json.dumps({"dtype": dtype, "quantization_config": {"quant_method": "awq"}})
    )
    assert checkpoint_memory(tmp_path) == 1000
    _sparse(tmp_path / "model.safetensors", 10 * usable_memory())
    with pytest.raises(OutOfMemoryError, match="the checkpoint needs about"):
        Transformers.open(tmp_path, None, threads=1)
