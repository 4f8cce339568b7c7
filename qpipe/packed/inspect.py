"""What a checkpoint folder with packed matrices holds, read from its headers alone."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from qpipe.gguf.checkpoint import open_checkpoint
from qpipe.gguf.inspect import TensorSummary, sizes, types
from qpipe.hf.quantized import read_settings
from qpipe.packed import structure
from qpipe.packed.structure import Structure


def inspect(folder: Path) -> dict[str, Any]:
    """The facts that `qpipe.gguf.inspect.inspect` cannot tell of a folder whose weights are
    quantized: the same keys, with packed matrices as what they stand for.

    ``quantization`` has ``method, format, tool, bits, group_sizes, modules, weights, bytes,
    bits_per_weight`` (scales and zero points too) and ``kept``, the matrices that are not packed.
    Of a method or a form of one that is not known it has ``method`` and ``unread``, which says so;
    it is None where nothing is quantized. Raises CheckpointError for damage.
    """
    said = read_settings(folder, open_checkpoint(folder).config.fields)
    if said is None:
        return {"quantization": None}
    if (why := structure.unread(said)) is not None:
        # Elements of packed tensors are no weights.
        unknown = {"parameters": None, "bits_per_weight": None, "file_type": said.method}
        return {**unknown, "quantization": {"method": said.method, "unread": why}}
    found = structure.read(folder)
    entries = [
        TensorSummary(m.name, m.type, list(m.shape), found.packed_bytes(m))
        for m in found.modules.values()
    ]
    entries += [
        TensorSummary(t.name, t.dtype, list(t.shape), t.nbytes) for t in found.plain.values()
    ]
    aside = [
        TensorSummary(n, found.tensors[n].dtype, [0], found.tensors[n].nbytes) for n in found.aside
    ]
    return {
        **sizes([*entries, *sorted(aside, key=lambda e: e.name)], found.facts["file_bytes"]),
        "types": types(entries),
        "file_type": found.label,
        "quantization": {"method": said.method, **_packed(found)},
    }


def _packed(found: Structure) -> dict[str, Any]:
    modules = found.modules.values()
    weights = sum(math.prod(module.shape) for module in modules)
    size = sum(map(found.packed_bytes, modules))
    return {
        "format": found.label,
        "tool": found.tool,
        "bits": sorted({module.bits for module in modules}),
        "group_sizes": sorted({m.group_size for m in modules if m.group_size is not None}),
        "modules": len(modules),
        "weights": weights,
        "bytes": size,
        "bits_per_weight": size * 8 / weights if weights else None,
        "kept": [name for name, tensor in found.plain.items() if len(tensor.shape) == 2],
    }
