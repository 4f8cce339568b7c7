"""Checkpoints in other precisions, their numbers compared with torch's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qpipe.errors import CheckpointError
from qpipe.gguf.checkpoint import read_tensors
from qpipe.gguf.safetensors import read_header
from qpipe.packed import first_layer, structure
from qpipe.packed.cast import cast
from qpipe.packed.restore import restore
from qpipe.packed.write import stored
from tests.packed.checkpoints import checkpoint

MODEL = Path(__file__).parents[2] / "qpipe" / "data" / "tinystories-d256"


def content(folder: Path) -> dict[str, bytes]:
    return {name: b"".join(stored(tensor)) for name, tensor in read_tensors(folder).items()}


def casted(source: Path, out: Path, dtype: str) -> dict[str, bytes]:
    out.mkdir()
    cast(read_tensors(source), out, dtype=dtype, progress=lambda done, total: None)
    return content(out)


def test_there_and_back_changes_nothing(tmp_path: Path) -> None:
    casted(MODEL, tmp_path / "wide", "fp32")
    assert casted(tmp_path / "wide", tmp_path / "back", "bf16") == content(MODEL)


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_rounding_is_torchs(tmp_path: Path, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    numbers = np.random.default_rng(1).normal(size=(100, 100)).astype(np.float32)
    ties = np.array([1.00390625, 1.01171875, -0.0, 6e-8, 1e-40], np.float32)  # halfway, denormal
    numbers[0, :5] = ties
    source = checkpoint(tmp_path / "source", {"model.a": numbers})
    (made,) = casted(source, tmp_path / "out", dtype).values()
    kind = torch.float16 if dtype == "fp16" else torch.bfloat16
    wanted = torch.from_numpy(numbers).to(kind).view(torch.int16).numpy().tobytes()
    assert made == wanted


def test_what_fp16_cannot_hold_is_refused(tmp_path: Path) -> None:
    source = checkpoint(tmp_path / "source", {"model.a": np.full((2, 2), 1e5, np.float32)})
    with pytest.raises(CheckpointError, match=r"'model\.a': holds 100000, which fp16 cannot"):
        casted(source, tmp_path / "out", "fp16")


def test_only_what_is_merely_wider_is_restored(tmp_path: Path) -> None:
    half = np.random.default_rng(2).normal(size=(64, 32)).astype(np.float16)
    other = half.astype(np.float32)
    other[3, 3] += 1e-3
    source = checkpoint(tmp_path / "s", {"model.same": half, "model.other": half})
    made = {"model.same": half.astype(np.float32), "model.other": other, "model.new": other}
    out = checkpoint(tmp_path / "o", made)
    assert restore(out, source) == ["model.same"]
    kinds = {name: tensor.dtype for name, tensor in read_tensors(out).items()}
    assert kinds == {"model.same": "F16", "model.other": "F32", "model.new": "F32"}
    assert content(out)["model.same"] == half.tobytes()
    assert [path.name for path in out.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(("full", "sizes"), [(10**9, [8]), (4096, [2, 2, 2, 2]), (9000, [4, 4])])
def test_files_are_joined_and_never_too_large(tmp_path: Path, full: int, sizes: list[int]) -> None:
    matrices = {f"model.{i}": np.full((32, 16), i, np.float32) for i in range(8)}
    source = checkpoint(tmp_path / "s", matrices)
    out = checkpoint(tmp_path / "o", matrices)
    before = content(out)
    restore(out, source, full=5000)
    assert len(list(out.glob("*.safetensors"))) == 4
    restore(out, source, full=full)
    assert content(out) == before
    parts = sorted(out.glob("*.safetensors"))
    assert [len(read_header(path)) for path in parts] == sizes


def test_the_first_layer_is_a_model(tmp_path: Path) -> None:
    assert first_layer.count(MODEL) == 4
    first_layer.extract(MODEL, tmp_path)
    assert first_layer.count(tmp_path) == 1
    found = structure.read(tmp_path)
    assert found.config["num_hidden_layers"] == 1
    whole, part = content(MODEL), content(tmp_path)
    assert part == {name: whole[name] for name in part}
    assert len(part) == 2 + (len(whole) - 2) // 4
