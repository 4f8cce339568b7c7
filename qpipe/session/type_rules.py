"""The types of a GGUF file's tensors as rules that a recipe can hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qpipe.errors import UsageError
from qpipe.session.functions import file_of


def type_rules(path: str | Path, *, store: str | Path | None = None) -> dict[str, Any]:
    """Return ``type`` and ``tensor_types`` with which quantizing gives the types of a GGUF file.

    ``path`` is as `functions.inspect` takes it. Raises CheckpointError for a file that is damaged,
    UsageError for a checkpoint.
    """
    from qpipe.gguf.like import LikeFile
    from qpipe.gguf.split import only_model, read
    from qpipe.support.files import is_folder

    place = file_of(path, store)
    model = only_model(place) if is_folder(place) else place
    if model is None or model.suffix == ".safetensors":
        raise UsageError(f"{path}: --rules is about the types of a GGUF file, and this is none")
    like = LikeFile.read(model)
    rules = like.rules(arch=read(model).architecture)
    return {"type": like.file_type, "tensor_types": [list(rule) for rule in rules]}
