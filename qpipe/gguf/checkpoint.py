"""A Hugging Face checkpoint folder: its config, and every tensor of all its safetensors files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from qpipe import errors
from qpipe.gguf import jsonfile, safetensors
from qpipe.gguf.config import Config
from qpipe.gguf.safetensors import StoredTensor

INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose headers were read; ``tensors`` are in file order, sorted in each file."""

    folder: Path
    config: Config
    tensors: dict[str, StoredTensor]


def open_checkpoint(folder: Path) -> Checkpoint:
    """Read config and headers under ``folder``, weights stay on disk.

    Raises `CheckpointError` for whatever is missing, twice there, or damaged.
    """
    if not folder.is_dir():
        raise errors.CheckpointError(f"{folder}: no such folder; give the folder with config.json")
    return Checkpoint(folder, Config.read(folder), read_tensors(folder))


def read_tensors(folder: Path) -> dict[str, StoredTensor]:
    """Every tensor of the checkpoint in ``folder`` by name."""
    weight_map = _weight_map(folder / INDEX) if (folder / INDEX).is_file() else None
    names = sorted(set(weight_map.values())) if weight_map is not None else _part_names(folder)
    for name in names:
        if not (folder / name).is_file():
            raise errors.CheckpointError(
                f"{folder / name}: missing; it is one of the {len(names)} files of this "
                "checkpoint: download it again"
            )
    tensors: dict[str, StoredTensor] = {}
    for name in names:
        for tensor in safetensors.read_header(folder / name).values():
            if tensor.name in tensors:
                raise errors.CheckpointError(
                    f"{tensor.origin} is also in {tensors[tensor.name].path.name}; "
                    "remove the file that does not belong to the checkpoint"
                )
            tensors[tensor.name] = tensor
    if weight_map is not None:
        _check_index(folder / INDEX, weight_map, tensors)
    if not tensors:
        raise errors.CheckpointError(f"{folder}: its safetensors files hold no tensor")
    return tensors


def _weight_map(index: Path) -> dict[str, str]:
    found = jsonfile.load(index).get("weight_map")
    if not isinstance(found, dict) or not found:
        raise errors.CheckpointError(
            f"{index}: field 'weight_map' is no object {{tensor: file}}; download it again"
        )
    for tensor, name in found.items():
        if not isinstance(name, str) or not re.fullmatch(r"[^/\\\0]+\.safetensors", name):
            raise errors.CheckpointError(
                f"{index}: field 'weight_map' puts tensor {tensor!r} into {name!r:.80}, which is "
                "no name of a safetensors file beside it; download it again"
            )
    return found


def _part_names(folder: Path) -> list[str]:
    """model.safetensors or its parts, as llama.cpp's converter finds them without an index."""
    names = sorted(path.name for path in folder.glob("model*.safetensors"))
    if not names:
        other = sorted(p.name for p in folder.glob("*.bin")) + sorted(
            p.name for p in folder.glob("*.pt*")
        )
        fix = f"convert {other[0]} to safetensors" if other else "download the checkpoint again"
        raise errors.CheckpointError(f"{folder}: no model.safetensors and no {INDEX}; {fix}")
    if parts := re.fullmatch(r"model-\d+-of-(\d+)\.safetensors", names[0]):
        total = parts[1]
        return [
            f"model-{i:0{len(total)}d}-of-{total}.safetensors" for i in range(1, int(total) + 1)
        ]
    return names


def _check_index(index: Path, weight_map: dict[str, str], tensors: dict[str, StoredTensor]) -> None:
    for name, file in weight_map.items():
        if name not in tensors:
            raise errors.CheckpointError(
                f"{index.parent / file}: tensor {name!r} is missing, though {index.name} lists it "
                "there; download that file again"
            )
    for name, tensor in tensors.items():
        if name not in weight_map:
            raise errors.CheckpointError(
                f"{tensor.origin} is not listed in {index.name}; download both again"
            )
