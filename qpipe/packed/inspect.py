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
    settings = read_settings(folder, open_checkpoint(folder).config.fields)
    if settings is None:
        return {"quantization": None}
    if (why := structure.unread(settings)) is not None:
        # Elements of packed tensors are no weights.
        unknown = {"parameters": None, "bits_per_weight": None, "file_type": settings.method}
        return {**unknown, "quantization": {"method": settings.method, "unread": why}}
    contents = structure.read(folder)
    entries = [
        TensorSummary(m.name, m.type, list(m.shape), contents.packed_bytes(m))
        for m in contents.modules.values()
    ]
    entries += [
        TensorSummary(t.name, t.dtype, list(t.shape), t.nbytes) for t in contents.plain.values()
    ]
    aside = [
        TensorSummary(n, contents.tensors[n].dtype, [0], contents.tensors[n].nbytes)
        for n in contents.aside
    ]
    return {
        **sizes([*entries, *sorted(aside, key=lambda e: e.name)], contents.facts["file_bytes"]),
        "types": types(entries),
        "file_type": contents.label,
        "quantization": {"method": settings.method, **_packed(contents)},
    }


def _packed(contents: Structure) -> dict[str, Any]:
    modules = contents.modules.values()
    weights = sum(math.prod(module.shape) for module in modules)
    size = sum(map(contents.packed_bytes, modules))
    return {
        "format": contents.label,
        "tool": contents.tool,
        "bits": sorted({module.bits for module in modules}),
        "group_sizes": sorted({m.group_size for m in modules if m.group_size is not None}),
        "modules": len(modules),
        "weights": weights,
        "bytes": size,
        "bits_per_weight": size * 8 / weights if weights else None,
        "kept": [name for name, tensor in contents.plain.items() if len(tensor.shape) == 2],
    }
