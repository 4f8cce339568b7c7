"""What a checkpoint holds, from its headers, and what made it where a manifest says so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from qpipe.core.layout import MANIFEST
from qpipe.core.manifest import Manifest
from qpipe.core.store import Store
from qpipe.errors import StoreError
from qpipe.support.files import exists, expanded, is_file, is_folder


def inspect(path: str | Path, *, store: str | Path | None = None) -> dict[str, Any]:
    """Describe a .gguf or .safetensors file, a checkpoint's folder or ``builtin:NAME``; with a
    ``store`` also the artifact whose key begins with ``path``. No weight is read.

    Keys: ``path, format, architecture, file_type, parameters, tensor_bytes, file_bytes,
    bits_per_weight, context_length, tokenizer, provenance, notes, types, metadata, tensors,
    quantization, made_by``. ``types`` maps a type to its tensors, parameters and bytes; ``tensors``
    lists name, type, shape and bytes; ``quantization`` tells of packed matrices and ``made_by`` of
    the stage that made it. What is not known is None. Raises CheckpointError for anything damaged
    or not understood, StoreError for a key that is none or of several.
    """
    from qpipe.gguf.inspect import inspect as read

    place = _place(str(path), None if store is None else Path(store))
    return {**_unpacked(place, read(place)), "made_by": _made_by(place)}


def _place(name: str, store: Path | None) -> Path:
    """Return the path that is meant: ``name`` itself, or the artifact whose key begins so."""
    if name.startswith("builtin:"):
        from qpipe.session.functions import local_path

        return local_path(name)
    path = expanded(name)
    if store is None or exists(path) or not re.fullmatch(r"[0-9a-f]{4,64}", name):
        return path  # what is not there, `read` says
    known = Store(store)
    return known.paths.artifact(known.find(name))


def _unpacked(path: Path, description: dict[str, Any]) -> dict[str, Any]:
    """Add to a description what the packed matrices stand for."""
    if not is_folder(path) or description["format"] != "safetensors":
        return {**description, "quantization": None}
    from qpipe.packed.inspect import inspect as unpack

    return {**description, **unpack(path)}


def _made_by(path: Path) -> dict[str, Any] | None:
    """Return stage, parameters, engine and inputs from the manifest beside the checkpoint."""
    folder = path if is_folder(path) else path.parent
    if not is_file(folder / MANIFEST):
        return None
    try:
        manifest = Manifest.load(folder)
    except (StoreError, OSError) as error:
        return {"problem": str(error)}
    names = ("key", "stage", "version", "name", "params", "engine", "inputs", "tools", "created")
    return {name: getattr(manifest, name) for name in names}
