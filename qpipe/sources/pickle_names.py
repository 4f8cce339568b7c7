"""The names of files of weights as pickles, and of what is made of them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import PurePosixPath

PICKLED_INDEX = "pytorch_model.bin.index.json"
SINGLE = "pytorch_model.bin"
PART = re.compile(r"pytorch_model-([0-9]+)-of-([0-9]+)\.bin")


def is_pickled(name: str) -> bool:
    """True if a file is one of weights as pickles, or their index."""
    return name in (SINGLE, PICKLED_INDEX) or PART.fullmatch(name) is not None


def named(names: Collection[str]) -> list[str]:
    """The files of weights as pickles among ``names``, with their index, in order."""
    return sorted(name for name in names if is_pickled(name))


def standing_for(names: Collection[str]) -> str | None:
    """The file by which the pickles among ``names`` are meant; None where the weights are there in
    another form, or none are."""
    if any(name.endswith((".safetensors", ".gguf")) and "/" not in name for name in names):
        return None
    files = named(names)
    whole = (name for name in (PICKLED_INDEX, SINGLE) if name in files)
    return next(whole, files[0] if files else None)


def is_source(params: Mapping[str, object], where: Mapping[str, object]) -> bool:
    """True if a pinned source (`PinnedSource`) comes to pickles."""
    name = params.get("file") or where.get("path")
    return name is not None and is_pickled(PurePosixPath(str(name)).name)


def safetensors_name(name: str) -> str:
    """The name of the file that is made of the pickle ``name``."""
    return name.replace("pytorch_model", "model", 1).removesuffix(".bin") + ".safetensors"
