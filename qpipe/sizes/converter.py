"""Files that llama.cpp's converter alone writes, of architectures that qpipe/gguf/arch/ lacks."""

from __future__ import annotations

from collections.abc import Iterator

import gguf

from qpipe.gguf import tensor_names, values
from qpipe.gguf.arch.base import MAX_LAYERS
from qpipe.gguf.chunks import OutputTensor
from qpipe.gguf.config import Config
from qpipe.gguf.file_plan import FilePlan
from qpipe.gguf.rows import ZeroRows
from qpipe.gguf.types import GGMLType
from qpipe.sizes import architectures

_NOTE = "llama.cpp's converter writes this architecture, and qpipe does not by itself"


def foreseen(config: Config) -> FilePlan | None:
    """The file in F16, of the metadata those by which types are chosen; None of a class that is
    not known so. Raises CheckpointError for a field that is missing or no size."""
    name, listed = architectures.in_gguf(config), architectures.tensors(config)
    if name is None or listed is None:
        return None
    heads = config.integer("n_head" if config.has("n_head") else "num_attention_heads")
    depth = "n_layer" if config.has("n_layer") else "num_hidden_layers"
    layers = config.integer(depth, most=MAX_LAYERS)
    metadata = {
        "general.architecture": values.string(name),
        f"{name}.block_count": values.u32(layers),
        f"{name}.attention.head_count": values.u32(heads),
        f"{name}.attention.head_count_kv": values.u32(config.integer("num_key_value_heads", heads)),
        "general.file_type": values.u32(1),
        **architectures.metadata(config),
    }
    outputs = list(_outputs(name, layers, architectures.converted(config, dict(listed))))
    return FilePlan(name, "F16", metadata, outputs, (_NOTE,))


def _outputs(name: str, layers: int, shapes: dict[str, tuple[int, ...]]) -> Iterator[OutputTensor]:
    by_name = {known: arch for arch, known in gguf.MODEL_ARCH_NAMES.items()}
    names = gguf.get_tensor_name_map(by_name[name], layers)
    for stored, shape in shapes.items():
        # Without that prefix, as its class for BLOOM has them (conversion/bloom.py).
        own = names.get_name(stored.removeprefix("transformer."), (".weight", ".bias"))
        assert own is not None, f"the gguf package has no name for {stored}"
        single = tensor_names.keeps_single_precision(own, shape)
        kind = GGMLType.F32 if single else GGMLType.F16
        yield OutputTensor(own, shape, kind, ZeroRows(stored, shape[-1]))
