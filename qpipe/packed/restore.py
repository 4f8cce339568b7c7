"""What tools wrote, as a checkpoint usually is.

On a CPU auto-round 0.15.1 computes in float32 and writes embeddings and norms so: twice their size,
for the same numbers. And it writes a file a layer. llm-compressor 0.14 leaves out an output matrix
that equals the embeddings, tied or not, and calls Mixtral's experts as transformers does in memory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from qpipe.gguf.checkpoint import read_tensors
from qpipe.gguf.safetensors import StoredTensor
from qpipe.gguf.weight_files import INDEX
from qpipe.packed.cast import as_floats
from qpipe.packed.write import TensorStream, stored, write

_HEAD = "lm_head.weight"
_WIDER = {"F32": ("F16", "BF16")}
# As checkpoints on the hub mostly have it.
_FULL = 5_000_000_000


def restore(folder: Path, source: Path, *, full: int = _FULL) -> list[str]:
    """Rewrite ``folder``'s tensors into files of ``full`` bytes at most, or one tensor.

    Those of which every number is the source's, but wider, get the source's precision; their names
    are returned.
    """
    original = read_tensors(source)
    tensors = list(read_tensors(folder).values())
    # auto-round 0.15.1 on a CPU writes float32.
    alike = {t.name: original[t.name] for t in tensors if _only_wider(t, original)}
    paths = {tensor.name: tensor.path for tensor in tensors}
    _rewrite(folder, [alike.get(t.name, t) for t in tensors], paths, full)
    return list(alike)


def complete(folder: Path, source: Path, names: Mapping[str, str], *, full: int = _FULL) -> bool:
    """Give tensors of ``folder`` the model's own names, and add an output matrix that was left out
    because its numbers are the embeddings'; whether anything was to be done.

    ``names`` are regular expressions on modules, and what they become.
    """
    tensors = [replace(t, name=_renamed(t.name, names)) for t in read_tensors(folder).values()]
    paths = {tensor.name: tensor.path for tensor in tensors}
    head = read_tensors(source).get(_HEAD)
    # llm-compressor 0.14 takes it for tied.
    if head is not None and _HEAD not in paths:
        tensors.append(head)
    if paths.keys() == read_tensors(folder).keys() and len(tensors) == len(paths):
        return False
    _rewrite(folder, tensors, paths, full)
    return True


def _renamed(name: str, names: Mapping[str, str]) -> str:
    for pattern, replacement in names.items():
        name = re.sub(pattern, replacement, name)
    return name


def _rewrite(
    folder: Path, tensors: Sequence[StoredTensor], paths: Mapping[str, Path], full: int
) -> None:
    """Write these tensors in place of all that ``folder`` has; ``paths`` is where each of its own
    lies, for files to go as soon as they are copied."""
    files = list(_files(tensors, full))
    last = {paths[t.name]: n for n, members in enumerate(files) for t in members if t.name in paths}
    (folder / INDEX).unlink(missing_ok=True)
    for number, members in enumerate(files):
        write(folder / f".{number}", [TensorStream.copy(tensor) for tensor in members])
        for path in (path for path, at in last.items() if at == number):
            path.unlink()
    names = file_names(len(files))
    for number, name in enumerate(names):
        (folder / f".{number}").replace(folder / name)
    if len(files) > 1:
        write_index(folder, dict(zip(names, files, strict=True)))


def _files(tensors: Sequence[StoredTensor], full: int) -> Iterator[list[StoredTensor]]:
    """In the order given, each file's sorted by name: what was in how many files has no say."""
    members: list[StoredTensor] = []
    for tensor in tensors:
        if members and sum(t.nbytes for t in members) + tensor.nbytes > full:
            yield sorted(members, key=lambda t: t.name)
            members = []
        members.append(tensor)
    yield sorted(members, key=lambda t: t.name)


def file_names(count: int) -> list[str]:
    """The names of a checkpoint's ``count`` files, as the hub has them."""
    if count == 1:
        return ["model.safetensors"]
    return [f"model-{i:05d}-of-{count:05d}.safetensors" for i in range(1, count + 1)]


def write_index(folder: Path, files: Mapping[str, Sequence[StoredTensor]]) -> None:
    """Write the index of ``files`` (transformers 5.17, modeling_utils.py, save_pretrained)."""
    size = sum(tensor.nbytes for members in files.values() for tensor in members)
    places = {tensor.name: name for name, members in files.items() for tensor in members}
    contents = {"metadata": {"total_size": size}, "weight_map": places}
    (folder / INDEX).write_text(json.dumps(contents, indent=2, sort_keys=True) + "\n")


def _only_wider(tensor: StoredTensor, original: Mapping[str, StoredTensor]) -> bool:
    narrow = original.get(tensor.name)
    if (
        narrow is None
        or narrow.shape != tensor.shape
        or narrow.dtype not in _WIDER.get(tensor.dtype, ())
    ):
        return False
    # The wider one's chunks hold half as many numbers: two of them for one of the narrower.
    wide = stored(tensor)
    for piece in stored(narrow):
        floats = as_floats(piece, narrow.dtype)
        both = b"".join(next(wide, b"") for _ in range(2))
        if not np.array_equal(floats, as_floats(both, tensor.dtype)):
            return False
    return True
