"""A file of torch.save as one of safetensors: its tensors alone, read by torch with weights_only.

What torch has read is looked at once more: a tensor may be of a kind that is no array of numbers,
or claim more elements than the file has bytes for.
"""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qpipe.errors import CheckpointError, quoted
from qpipe.sources.pickle_check import PickledFile

_EMBEDDINGS = ("embed", "wte", "shared")
# As safetensors' own names of types (safetensors/torch.py, 0.8).
_DTYPES = (
    "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool",
    "float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu", "uint16", "uint32", "uint64",
)  # fmt: skip
_GLOBAL = re.compile(r"GLOBAL (\S+) was not an allowed global")


@dataclass(frozen=True)
class Shard:
    """The tensors of a file as they were written: names, bytes in all, and by name the other tensor
    that one is, and under whose name it was written."""

    names: Collection[str]
    nbytes: int
    aliases: Mapping[str, str]


def convert(file: PickledFile, out: Path, *, listed: Collection[str] | None, tied: bool) -> Shard:
    """Write the tensors of ``file`` to ``out``.

    ``listed`` are those that an index names, None without one. Tensors that are views of the same
    bytes are each written whole; but where one is the embedding, and the output matrix may be
    ``tied`` to it, it is written once, under the embedding's name, as transformers does.
    Raises CheckpointError.
    """
    from safetensors.torch import save_file

    tensors = _loaded(file)
    _check(file, tensors, listed)
    groups = _alike(tensors)
    aliases = {} if not tied else {n: o for group in groups for n, o in _tied(group).items()}
    kept = {name: tensor for name, tensor in tensors.items() if name not in aliases}
    save_file(_apart(kept), out, metadata={"format": "pt"})
    nbytes = sum(tensor.numel() * tensor.element_size() for tensor in kept.values())
    return Shard(kept.keys(), nbytes, aliases)


def _loaded(file: PickledFile) -> dict[str, Any]:
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of storages without a type (torch 2.13)
            state = torch.load(
                str(file.path), map_location="cpu", weights_only=True, mmap=file.zipped or None
            )
    except pickle.UnpicklingError as error:
        refused = _GLOBAL.search(str(error))
        asked = quoted(refused[1]) if refused else quoted(str(error).strip().splitlines()[-1])
        raise CheckpointError(
            f"{file.path}: torch does not read it with weights_only: {asked}; save the model's "
            "state_dict() as safetensors"
        ) from None
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
        raise CheckpointError(
            f"{file.path}: torch cannot read it: {quoted(str(error).strip())}; download it again"
        ) from None
    if not isinstance(state, dict):
        raise CheckpointError(
            f"{file.path}: holds a {type(state).__name__}, not tensors by name; save the model's "
            "state_dict() as safetensors"
        )
    return state


def _check(file: PickledFile, tensors: Mapping[Any, Any], listed: Collection[str] | None) -> None:
    """Raise for what is no tensor that safetensors can hold, or not what the index says."""
    import torch

    for name, value in tensors.items():
        where = f"{file.path}: entry {quoted(name)}"
        if not isinstance(name, str) or name == "__metadata__" or not _is_text(name):
            raise CheckpointError(f"{where} is no name of a tensor; {_AGAIN}")
        if type(value) not in (torch.Tensor, torch.nn.Parameter):
            raise CheckpointError(f"{where} is a {type(value).__name__}, not a tensor; {_AGAIN}")
        kind = str(value.dtype).removeprefix("torch.")
        plain = value.layout == torch.strided and value.device.type == "cpu"
        if not plain or value.is_quantized or kind not in _DTYPES:
            raise CheckpointError(
                f"{where} is of the type {kind} ({value.layout}, {value.device.type}), which "
                f"safetensors do not hold; {_AGAIN}"
            )
        if value.numel() * value.element_size() > file.size:
            raise CheckpointError(
                f"{where} has the shape {[*value.shape]}, and the file {file.size} bytes; {_AGAIN}"
            )
    if not tensors:
        raise CheckpointError(f"{file.path}: holds no tensor; {_AGAIN}")
    if listed is not None and (other := sorted({*listed} ^ tensors.keys())):
        problem = "missing, though the index lists it" if other[0] in listed else "not in the index"
        raise CheckpointError(
            f"{file.path}: tensor {quoted(other[0])} is {problem}; download both again"
        )


_AGAIN = "save the model's state_dict() as safetensors, and give that"


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _alike(tensors: Mapping[str, Any]) -> list[list[str]]:
    """The names of tensors that are the very same bytes, where there are several."""
    groups: dict[Any, list[str]] = {}
    for name, tensor in tensors.items():
        if tensor.numel():
            view = tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()
            groups.setdefault(view, []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _tied(group: list[str]) -> dict[str, str]:
    """The other names of an embedding, by which it is not written again."""
    embeddings = sorted((name for name in group if _is_embedding(name)), key=lambda n: (len(n), n))
    return {name: embeddings[0] for name in group if name != embeddings[0]} if embeddings else {}


def _is_embedding(name: str) -> bool:
    return any(word in part for part in name.split(".") for word in _EMBEDDINGS)


def _apart(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors, each in bytes of its own and in order, as safetensors want them."""
    taken: set[int] = set()
    apart = {}
    for name, tensor in tensors.items():
        whole = tensor.detach().contiguous()
        storage = whole.untyped_storage().data_ptr()
        apart[name] = whole.clone() if storage in taken else whole
        taken.add(storage)
    return apart
