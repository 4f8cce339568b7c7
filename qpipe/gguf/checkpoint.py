"""A Hugging Face checkpoint folder: its config, and every tensor of all its safetensors files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qpipe import errors
from qpipe.errors import quoted
from qpipe.gguf import jsonfile, no_weights, safetensors, weight_files
from qpipe.gguf.config import Config
from qpipe.gguf.safetensors import StoredTensor
from qpipe.gguf.weight_files import INDEX
from qpipe.hf.quantized import QuantizationSettings
from qpipe.support.files import is_file
from qpipe.support.inside import is_inner


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose headers were read; ``tensors`` are in file order, sorted in each file.

    ``quantization`` says how its weights lie, where ``tensors`` are not they but what they stand
    for (`qpipe.gguf.computed`). ``sampled``: it lies nowhere, and of the experts of a layer the
    first alone is among ``tensors``.
    """

    folder: Path
    config: Config
    tensors: dict[str, StoredTensor]
    quantization: QuantizationSettings | None = None
    sampled: bool = False


def open_checkpoint(folder: Path) -> Checkpoint:
    """Read config and headers under ``folder``, weights stay on disk.

    Raises `CheckpointError` for whatever is missing, twice there, or damaged.
    """
    if not folder.is_dir():
        raise errors.CheckpointError(f"{folder}: no such folder; give the folder with config.json")
    return Checkpoint(folder, Config.read(folder), read_tensors(folder))


def read_tensors(folder: Path) -> dict[str, StoredTensor]:
    """Every tensor of the checkpoint in ``folder`` by name."""
    names = weight_file_names(folder)
    weight_map = _weight_map(folder / INDEX) if (folder / INDEX).is_file() else None
    for name in names:
        if not is_file(folder / name):
            raise errors.CheckpointError(_missing(folder / name, len(names)))
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
    weight_map = jsonfile.load(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise errors.CheckpointError(
            f"{index}: field 'weight_map' is no object {{tensor: file}}; download it again"
        )
    for tensor, name in weight_map.items():
        if not is_inner(name) or "/" in name or not name.endswith(".safetensors"):
            raise errors.CheckpointError(
                f"{index}: field 'weight_map' puts tensor {quoted(tensor)} into {quoted(name)}, "
                "which is no name of a safetensors file beside it; download it again"
            )
    return weight_map


def weight_file_names(folder: Path) -> list[str]:
    """The names of the files with the weights of the checkpoint in ``folder``, in order.

    Raises `CheckpointError` where none are, or some are missing, or two sets of them are there.
    """
    weight_map = _weight_map(folder / INDEX) if (folder / INDEX).is_file() else None
    names = [path.name for path in folder.iterdir()]
    try:
        listed = None if weight_map is None else set(weight_map.values())
        files = weight_files.weights(names, listed)
    except weight_files.AmbiguousError as error:
        raise errors.CheckpointError(f"{folder}: {error}") from None
    except weight_files.IncompleteError as error:
        missing, count = error.args
        raise errors.CheckpointError(_missing(folder / missing, count)) from None
    if not files:
        raise errors.CheckpointError(f"{folder}: {no_weights.instead(names)}")
    return files


def _missing(path: Path, count: int | str) -> str:
    return f"{path}: missing; it is one of the {count} files of this checkpoint: download it again"


def _check_index(index: Path, weight_map: dict[str, str], tensors: dict[str, StoredTensor]) -> None:
    for name, file in weight_map.items():
        if name not in tensors:
            raise errors.CheckpointError(
                f"{index.parent / file}: tensor {quoted(name)} is missing, though {index.name} "
                "lists it there; download that file again"
            )
    for name, tensor in tensors.items():
        if name not in weight_map:
            raise errors.CheckpointError(
                f"{tensor.origin} is not listed in {index.name}; download both again"
            )
