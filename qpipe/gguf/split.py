"""A GGUF model in several files, as llama-gguf-split writes it, read as one (llama.cpp,
src/llama-model-loader.cpp: the first file has the metadata, each its own tensors)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from qpipe import errors
from qpipe.gguf import no_weights, reader, values
from qpipe.gguf.reader import GGUFFile, Tensor
from qpipe.support.files import is_file

NUMBER, COUNT, TENSORS = "split.no", "split.count", "split.tensors.count"

# llama_split_path: "%s-%05d-of-%05d.gguf".
_NAME = re.compile(r"(?P<stem>.+)-(?P<number>[0-9]{5})-of-(?P<count>[0-9]{5})\.gguf")
# Of each file alone, and no part of the model.
_OWN = (NUMBER, COUNT, TENSORS, "general.alignment")


@dataclass(frozen=True)
class SplitName:
    """A part of a model, as its file's name has it: ``number`` (from 1) of ``count``."""

    stem: str
    number: int
    count: int

    def all_names(self) -> list[str]:
        """The names of all parts, in order."""
        return [f"{self.stem}-{i:05d}-of-{self.count:05d}.gguf" for i in range(1, self.count + 1)]


def named(name: str) -> SplitName | None:
    """The part that a file of this name is; None for a model in one file."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    part = SplitName(match["stem"], int(match["number"]), int(match["count"]))
    return part if 1 <= part.number <= part.count and part.count > 1 else None


def only_model(folder: Path) -> Path | None:
    """The GGUF model in a folder, the first of its parts; None for a checkpoint, whose weights go
    before GGUF files that lie beside them.

    Raises `CheckpointError` for several models, and for neither.
    """
    files = sorted(folder.glob("*.gguf"))
    if files and not any(folder.glob("*.safetensors")):
        part = named(files[0].name)
        parts = [files[0].name] if part is None else part.all_names()
        if [file.name for file in files] == parts:
            return files[0]
    if is_file(folder / "config.json"):
        return None
    if files:
        listed = ", ".join(file.name for file in files)
        raise errors.CheckpointError(f"{folder}: holds {listed}; give the path of one checkpoint")
    raise errors.CheckpointError(
        f"{folder}: holds neither a .gguf file nor a config.json: it "
        f"{no_weights.instead([path.name for path in folder.iterdir()])}"
    )


def place(file: GGUFFile) -> tuple[int, int] | None:
    """(number from 1, count) of a file that says that it is one of several, else None."""
    count = _number(file, COUNT)
    if count is None or count < 2:
        return None
    return (_number(file, NUMBER) or 0) + 1, count


def read(path: Path, *, any_type: bool = False) -> GGUFFile:
    """The model that ``path`` is, or is the first or another part of, as one file.

    Raises `CheckpointError` for what is damaged, missing, or of another model, and for a tensor of
    an unknown type, unless ``any_type`` is to be passed over.
    """
    first = reader.read(path, any_type=any_type)
    where = place(first)
    if where is None:
        return first
    part = named(path.name)
    if part is None or part.count != where[1]:
        raise errors.CheckpointError(
            f"{path}: is one part of a split GGUF model ({where[0]} of {where[1]}), and its name "
            "does not say so: call the parts NAME-00001-of-0000N.gguf, as llama.cpp expects them"
        )
    files = [reader.read(path.with_name(n), any_type=any_type) for n in part.all_names()]
    return _joined(files)


def _joined(files: list[GGUFFile]) -> GGUFFile:
    tensors: dict[str, Tensor] = {}
    unread = {name: tensor for file in files for name, tensor in file.unread.items()}
    for number, file in enumerate(files, 1):
        if place(file) != (number, len(files)):
            raise errors.CheckpointError(
                f"{file.path}: is not part {number} of {len(files)} of this model, as its name "
                "says; download the parts again"
            )
        for tensor in file.tensors.values():
            if tensor.name in tensors:
                raise errors.CheckpointError(
                    f"{file.path}: tensor {errors.quoted(tensor.name)} is in another part too; "
                    "these parts are not of one model"
                )
            tensors[tensor.name] = replace(tensor, path=file.path)
    first = files[0]
    count, held = _number(first, TENSORS), len(tensors) + len(unread)
    if count is not None and count != held:
        raise errors.CheckpointError(
            f"{first.path}: the {len(files)} parts hold {held} tensors, and the first says "
            f"{count}; download the parts again"
        )
    metadata = {key: value for key, value in first.metadata.items() if key not in _OWN}
    return replace(first, metadata=metadata, tensors=tensors, unread=unread)


def _number(file: GGUFFile, key: str) -> int | None:
    value = values.decode(file.metadata[key], limit=1) if key in file.metadata else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None
