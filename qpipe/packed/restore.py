"""Tensors that a tool left alone, but wrote in another precision, as they were in the source.

auto-round computes on a CPU in float32 and writes embeddings and norms so: twice their size, for
the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from qpipe.gguf.checkpoint import read_tensors
from qpipe.gguf.safetensors import StoredTensor
from qpipe.packed.cast import as_floats
from qpipe.packed.write import Entry, stored, write

_WIDER = {"F32": ("F16", "BF16")}


def restore(folder: Path, source: Path) -> list[str]:
    """Rewrite the files of ``folder`` in which a tensor is only wider than in ``source``.

    Only tensors whose every number is the source's are changed; their names are returned.
    """
    original = read_tensors(source)
    files: dict[Path, list[StoredTensor]] = {}
    for tensor in read_tensors(folder).values():
        files.setdefault(tensor.path, []).append(tensor)
    changed: list[str] = []
    for path, tensors in files.items():
        alike = {t.name: original[t.name] for t in tensors if _only_wider(t, original)}
        if alike:
            beside = path.with_name(f".{path.name}")
            write(beside, [Entry.copy(alike.get(t.name, t)) for t in tensors])
            beside.replace(path)
            changed += alike
    return changed


def _only_wider(tensor: StoredTensor, original: Mapping[str, StoredTensor]) -> bool:
    was = original.get(tensor.name)
    if was is None or was.shape != tensor.shape or was.dtype not in _WIDER.get(tensor.dtype, ()):
        return False
    # The wider one's chunks hold half as many numbers: two of them for one of the narrower.
    wide = stored(tensor)
    for piece in stored(was):
        floats = as_floats(piece, was.dtype)
        both = b"".join(next(wide, b"") for _ in range(2))
        if not np.array_equal(floats, as_floats(both, tensor.dtype)):
            return False
    return True
