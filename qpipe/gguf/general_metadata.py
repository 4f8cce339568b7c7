"""The metadata in front of the tokenizer: ``general.*`` and the sizes of the model.

Order and names as llama.cpp's converter writes them (conversion/base.py, prepare_metadata and
TextModel.set_gguf_parameters).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import gguf
from gguf.gguf_writer import GGUFValue

from qpipe.gguf import card, jsonfile, rope, values
from qpipe.gguf.arch.base import Architecture
from qpipe.gguf.arch.dims import Dims
from qpipe.gguf.checkpoint import Checkpoint
from qpipe.gguf.chunks import OutputTensor
from qpipe.gguf.config import Config
from qpipe.gguf.ftypes import FileType

QUANTIZATION_VERSION = 2  # ggml.h, GGML_QNT_VERSION


def description(
    checkpoint: Checkpoint, arch: str, *, name: str, outputs: Sequence[OutputTensor]
) -> values.Metadata:
    """``general.*``: name, authorship, licence, sampling defaults, from name and model card.

    ``name`` is the model's own, a repository id or a folder's name; the gguf package's heuristics
    take size, version and fine-tune from it.
    """
    total, shared, expert, n_experts = _weights(outputs)
    front = card.read(checkpoint.folder)
    fields = _named(checkpoint.config)
    meta = gguf.Metadata.apply_metadata_heuristic(gguf.Metadata(), front, fields, Path(name), total)
    _sampling(meta, checkpoint.folder)
    meta.name = meta.name or name
    meta.size_label = meta.size_label or gguf.size_label(total, shared, expert, n_experts)
    writer = gguf.GGUFWriter(None, arch)
    writer.add_type(gguf.GGUFType.MODEL)
    meta.set_gguf_meta_model(writer)
    entries = writer.kv_data[0].items()
    return {key: _encoded(item) for key, item in entries if item.value != []}


def sizes(config: Config, architecture: Architecture, dims: Dims) -> values.Metadata:
    """``ARCH.*``: the hyperparameters."""
    if architecture.sizes is not None:
        return architecture.sizes(config, dims)
    arch = architecture.name
    fields = {
        f"{arch}.block_count": values.u32(dims.layers),
        f"{arch}.context_length": values.u32(config.integer("max_position_embeddings")),
        f"{arch}.embedding_length": values.u32(dims.hidden),
    }
    if width := dims.size(architecture.feed_forward):
        fields[f"{arch}.feed_forward_length"] = values.u32(width)
    fields[f"{arch}.attention.head_count"] = values.u32(dims.heads)
    kv_heads = values.u32(dims.size("kv_heads"))
    if architecture.kv_heads is not None:
        kv_heads = values.i32s(architecture.kv_heads(config, dims))
    fields[f"{arch}.attention.head_count_kv"] = kv_heads
    fields |= rope.parameters(arch, config)
    epsilon = next(name for name in ("rms_norm_eps", "norm_eps") if config.has(name))
    rms_epsilon = values.f32(config.positive(epsilon))
    fields[f"{arch}.attention.layer_norm_rms_epsilon"] = rms_epsilon
    if dims.experts:
        fields |= _experts(architecture, config, dims)
    if architecture.head_dim_default or config.has("head_dim"):
        fields[f"{arch}.attention.key_length"] = values.u32(dims.head_dim)
        fields[f"{arch}.attention.value_length"] = values.u32(dims.head_dim)
    return fields


def without_tensors(config: Config, architecture: Architecture, dims: Dims) -> values.Metadata:
    """The architecture and its hyperparameters, which no tensor has a part in."""
    metadata = {"general.architecture": values.string(architecture.name)}
    metadata |= sizes(config, architecture, dims)
    return metadata | architecture.after_file_type(config, dims)


def _experts(architecture: Architecture, config: Config, dims: Dims) -> values.Metadata:
    """The number of experts, how many are used, and how they are chosen."""
    arch = architecture.name
    fields = {
        f"{arch}.expert_count": values.u32(dims.experts),
        f"{arch}.expert_used_count": values.u32(config.integer(architecture.experts_used)),
    }
    for name, key in (("n_group", "group_count"), ("topk_group", "group_used_count")):
        if config.has(name):
            fields[f"{arch}.expert_{key}"] = values.u32(config.integer(name))
    if config.has("scoring_func"):
        kind = gguf.ExpertGatingFuncType[str(config.fields["scoring_func"]).upper()]
        fields[f"{arch}.expert_gating_func"] = values.u32(kind)
    return fields


def _weights(outputs: Sequence[OutputTensor]) -> tuple[int, int, int, int]:
    """(all weights, those outside the experts, those of one expert in each layer, experts);
    source: gguf_writer.py, get_total_parameter_count."""
    stacks = [o.shape for o in outputs if "_exps." in o.name and len(o.shape) > 2]
    stacked = sum(math.prod(shape) for shape in stacks)
    total = sum(math.prod(output.shape) for output in outputs)
    expert = sum(math.prod(shape[1:]) for shape in stacks)
    return total, total - stacked, expert, stacks[0][0] if stacks else 0


def _encoded(item: GGUFValue) -> bytes:
    if isinstance(item.value, list):  # tags, languages: the only lists in general.*
        return values.strings([str(entry).encode() for entry in item.value])
    return values.encode(item.value, values.ValueType(item.type))


def file_type(ftype: FileType) -> values.Metadata:
    """The key that names the quantization."""
    return {"general.file_type": values.u32(ftype.number)}


def _sampling(meta: gguf.Metadata, folder: Path) -> None:
    """Defaults of generation_config.json (gguf-py, Metadata.load)."""
    path = folder / "generation_config.json"
    if not path.is_file():
        return
    config = Config(path, jsonfile.load(path))
    for field in ("top_k", "top_p", "min_p", "temperature", "repetition_penalty"):
        target = {"temperature": "temp", "repetition_penalty": "penalty_repeat"}.get(field, field)
        if config.has(field):
            setattr(meta, f"sampling_{target}", _default(config, field))


def _default(config: Config, field: str) -> float:
    """A number that GGUF has room for: int32 for top_k, float32 for the others."""
    value = config.fields[field]
    whole = field == "top_k"
    fits = isinstance(value, int | float) and not isinstance(value, bool)
    if not (fits and abs(value) < (1 << 31 if whole else 3.4e38) and (not whole or value % 1 == 0)):
        raise config.bad(field, "a whole number" if whole else "a number")
    return int(value) if whole else float(value)


def _named(config: Config) -> dict[str, str]:
    """The fields of config.json that the gguf package's heuristics look at."""
    if not config.has("_name_or_path"):
        return {}
    if not isinstance(config.fields["_name_or_path"], str):
        raise config.bad("_name_or_path", "a name")
    return {"_name_or_path": config.fields["_name_or_path"]}
