"""Checkpoint folders: shards, index, and what can be missing or twice there."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from qpipe import errors
from qpipe.gguf import safetensors
from qpipe.gguf.checkpoint import open_checkpoint, read_tensors
from qpipe.gguf.convert import convert
from tests.gguf import samples

PARTS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    """stories260K in two files with an index."""
    folder = samples.copy_model("stories260K", tmp_path / "stories260K")
    tensors = samples.load_tensors(folder)
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    weight_map: dict[str, str] = {}
    for part, chosen in zip(PARTS, (names[:20], names[20:]), strict=True):
        samples.write_safetensors(folder / part, {name: tensors[name] for name in chosen})
        weight_map |= dict.fromkeys(chosen, part)
    write_index(folder, weight_map)
    return folder


def write_index(folder: Path, weight_map: object) -> None:
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def weight_map_of(folder: Path) -> dict[str, str]:
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    found: dict[str, str] = index["weight_map"]
    return found


def test_shards_convert_to_the_same_bytes(sharded: Path, tmp_path: Path) -> None:
    convert(sharded, tmp_path / "sharded.gguf", outtype="F32")
    assert samples.rows_of(tmp_path / "sharded.gguf") == samples.golden_rows("stories260K", "F32")


def test_shards_without_index_are_found(sharded: Path) -> None:
    with_index = read_tensors(sharded)
    (sharded / "model.safetensors.index.json").unlink()
    assert read_tensors(sharded) == with_index


@pytest.mark.parametrize("with_index", [True, False])
def test_missing_shard(sharded: Path, with_index: bool) -> None:
    (sharded / PARTS[1]).unlink()
    if not with_index:
        (sharded / "model.safetensors.index.json").unlink()
    with pytest.raises(errors.CheckpointError, match=rf"{PARTS[1]}: missing; .*of the 2 files"):
        read_tensors(sharded)


@pytest.mark.parametrize("total", ["99999999999", "9" * 110, "00003", "00000", "00001"])
def test_as_many_parts_as_a_name_likes(sharded: Path, total: str) -> None:
    """The number stands in a name: nothing is counted up to it."""
    (sharded / "model.safetensors.index.json").unlink()
    for i, part in enumerate(PARTS, 1):
        name = f"model-{i:0{len(total)}d}-of-{total}.safetensors"
        (sharded / part).rename(sharded / name)
    with pytest.raises(errors.CheckpointError, match=r"missing; it is one of the [0-9]+ files"):
        read_tensors(sharded)


def test_a_name_that_no_file_can_have(sharded: Path) -> None:
    write_index(sharded, {"a": "x" * 300 + ".safetensors"})
    with pytest.raises(errors.CheckpointError, match=r"which is no name of a safetensors file"):
        read_tensors(sharded)


def test_pipes_and_folders_are_no_files(sharded: Path) -> None:
    (sharded / PARTS[0]).unlink()
    os.mkfifo(sharded / PARTS[0])
    with pytest.raises(errors.CheckpointError, match=rf"{PARTS[0]}: missing"):
        read_tensors(sharded)
    (sharded / "config.json").unlink()
    os.mkfifo(sharded / "config.json")
    with pytest.raises(errors.CheckpointError, match=r"config.json: cannot be read: it is a pipe"):
        open_checkpoint(sharded)


def test_tensor_in_two_shards(sharded: Path) -> None:
    first, second = (safetensors.read_header(sharded / part) for part in PARTS)
    name = next(iter(first))
    data = (sharded / PARTS[1]).read_bytes()
    again = {
        t.name: (t.dtype, t.shape, data[t.offset : t.offset + t.nbytes]) for t in second.values()
    }
    again[name] = ("F32", (1,), bytes(4))
    samples.write_safetensors(sharded / PARTS[1], again)
    with pytest.raises(errors.CheckpointError, match=rf"{name}' is also in {PARTS[0]}"):
        read_tensors(sharded)


def test_index_lists_a_tensor_that_is_not_there(sharded: Path) -> None:
    write_index(sharded, weight_map_of(sharded) | {"model.extra": PARTS[0]})
    with pytest.raises(errors.CheckpointError, match=r"'model.extra' is missing, though"):
        read_tensors(sharded)


def test_index_omits_a_tensor(sharded: Path) -> None:
    weight_map = weight_map_of(sharded)
    del weight_map["model.norm.weight"]
    write_index(sharded, weight_map)
    with pytest.raises(errors.CheckpointError, match=r"'model.norm.weight' is not listed"):
        read_tensors(sharded)


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        ({"a": "../../etc/passwd"}, r"puts tensor 'a' into '../../etc/passwd'"),
        ({"a": 5}, r"puts tensor 'a' into 5"),
        ([], r"'weight_map' is no object"),
        (None, r"'weight_map' is no object"),
    ],
)
def test_unusable_index(sharded: Path, weight_map: object, message: str) -> None:
    write_index(sharded, weight_map)
    with pytest.raises(errors.CheckpointError, match=message):
        read_tensors(sharded)


def test_no_weights_at_all(tmp_path: Path) -> None:
    folder = samples.copy_model("stories260K", tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(errors.CheckpointError, match=r"set model.allow_pickle=true"):
        open_checkpoint(folder)


def test_no_folder_and_no_config(tmp_path: Path) -> None:
    with pytest.raises(errors.CheckpointError, match="no such folder"):
        open_checkpoint(tmp_path / "nowhere")
    with pytest.raises(errors.CheckpointError, match=r"config.json: missing"):
        open_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text("{,}")
    with pytest.raises(errors.CheckpointError, match=r"config.json: not usable as JSON"):
        open_checkpoint(tmp_path)
