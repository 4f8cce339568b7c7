"""Tensors of checkpoints that GGUF's own architectures (qpipe/gguf/arch/) do not have.

Source: transformers 5.17, models/opt, bloom, gpt_neox, phi, gemma, stablelm and starcoder2:
modeling_*.py and configuration_*.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from qpipe.gguf import values
from qpipe.gguf.arch.base import MAX_LAYERS
from qpipe.gguf.config import Config
from qpipe.sizes import nemotron_h

Shaped = tuple[str, tuple[int, ...]]


def tensors(config: Config) -> Iterator[Shaped] | None:
    """Name and shape of every tensor; None of a class that is not here either. Raises
    CheckpointError for a field that is missing or no size."""
    own = _OWN.get(config.model_class)
    return None if own is None else own[0](config)


def in_gguf(config: Config) -> str | None:
    """The name of its architecture in GGUF, which llama.cpp's converter alone writes."""
    if config.model_class == _NEMOTRON_H:
        return nemotron_h.in_gguf(config)
    own = _OWN.get(config.model_class)
    return None if own is None else own[1]


def metadata(config: Config) -> values.Metadata:
    """Metadata of its GGUF file by which types are chosen, beside those that all models have."""
    return nemotron_h.metadata(config) if config.model_class == _NEMOTRON_H else {}


def converted(config: Config, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """The tensors of its GGUF file, by names as llama.cpp's converter looks them up."""
    if config.model_class == _NEMOTRON_H:
        return dict(nemotron_h.converted(config, shapes))
    return dict(shapes)


def names() -> list[str]:
    """The classes that are known here."""
    return sorted(_OWN)


def _linear(name: str, rows: int, columns: int, *, bias: bool = True) -> Iterator[Shaped]:
    yield f"{name}.weight", (rows, columns)
    if bias:
        yield f"{name}.bias", (rows,)


def _norm(name: str, size: int) -> Iterator[Shaped]:
    yield f"{name}.weight", (size,)
    yield f"{name}.bias", (size,)


def _opt(config: Config) -> Iterator[Shaped]:
    hidden, ffn = config.integer("hidden_size"), config.integer("ffn_dim")
    inner, bias = config.integer("word_embed_proj_dim", hidden), config.flag("enable_bias", True)
    at = "model.decoder"
    yield f"{at}.embed_tokens.weight", (config.integer("vocab_size"), inner)
    # Positions begin at 2 (OPTLearnedPositionalEmbedding).
    yield f"{at}.embed_positions.weight", (config.integer("max_position_embeddings") + 2, hidden)
    if inner != hidden:
        yield f"{at}.project_in.weight", (hidden, inner)
        yield f"{at}.project_out.weight", (inner, hidden)
    last = config.flag("do_layer_norm_before", True)
    if last and not config.flag("_remove_final_layer_norm", False):
        yield from _norm(f"{at}.final_layer_norm", hidden)
    for i in range(config.integer("num_hidden_layers", most=MAX_LAYERS)):
        layer = f"{at}.layers.{i}"
        for part in ("k_proj", "v_proj", "q_proj", "out_proj"):
            yield from _linear(f"{layer}.self_attn.{part}", hidden, hidden, bias=bias)
        yield from _norm(f"{layer}.self_attn_layer_norm", hidden)
        yield from _linear(f"{layer}.fc1", ffn, hidden, bias=bias)
        yield from _linear(f"{layer}.fc2", hidden, ffn, bias=bias)
        yield from _norm(f"{layer}.final_layer_norm", hidden)
    if not config.flag("tie_word_embeddings", True):
        yield "lm_head.weight", (config.integer("vocab_size"), inner)


def _bloom(config: Config) -> Iterator[Shaped]:
    hidden = config.integer("n_embed" if config.has("n_embed") else "hidden_size")
    name = "n_layer" if config.has("n_layer") else "num_hidden_layers"
    layers = config.integer(name, most=MAX_LAYERS)
    yield "transformer.word_embeddings.weight", (config.integer("vocab_size"), hidden)
    yield from _norm("transformer.word_embeddings_layernorm", hidden)
    for i in range(layers):
        layer = f"transformer.h.{i}"
        yield from _norm(f"{layer}.input_layernorm", hidden)
        yield from _linear(f"{layer}.self_attention.query_key_value", 3 * hidden, hidden)
        yield from _linear(f"{layer}.self_attention.dense", hidden, hidden)
        yield from _norm(f"{layer}.post_attention_layernorm", hidden)
        yield from _linear(f"{layer}.mlp.dense_h_to_4h", 4 * hidden, hidden)
        yield from _linear(f"{layer}.mlp.dense_4h_to_h", hidden, 4 * hidden)
    yield from _norm("transformer.ln_f", hidden)
    if not config.flag("tie_word_embeddings", True):
        yield "lm_head.weight", (config.integer("vocab_size"), hidden)


def _gpt_neox(config: Config) -> Iterator[Shaped]:
    hidden, vocab = config.integer("hidden_size"), config.integer("vocab_size")
    ffn, bias = config.integer("intermediate_size"), config.flag("attention_bias", True)
    yield "gpt_neox.embed_in.weight", (vocab, hidden)
    for i in range(config.integer("num_hidden_layers", most=MAX_LAYERS)):
        layer = f"gpt_neox.layers.{i}"
        yield from _norm(f"{layer}.input_layernorm", hidden)
        yield from _norm(f"{layer}.post_attention_layernorm", hidden)
        joint = f"{layer}.attention.query_key_value"
        yield from _linear(joint, 3 * hidden, hidden, bias=bias)
        yield from _linear(f"{layer}.attention.dense", hidden, hidden, bias=bias)
        yield from _linear(f"{layer}.mlp.dense_h_to_4h", ffn, hidden)
        yield from _linear(f"{layer}.mlp.dense_4h_to_h", hidden, ffn)
    yield from _norm("gpt_neox.final_layer_norm", hidden)
    if not config.flag("tie_word_embeddings", False):
        yield "embed_out.weight", (vocab, hidden)


def _phi(config: Config) -> Iterator[Shaped]:
    hidden, vocab = config.integer("hidden_size"), config.integer("vocab_size")
    heads, ffn = config.integer("num_attention_heads"), config.integer("intermediate_size")
    kv = config.integer("num_key_value_heads", heads) * (hidden // heads)
    yield "model.embed_tokens.weight", (vocab, hidden)
    for i in range(config.integer("num_hidden_layers", most=MAX_LAYERS)):
        layer = f"model.layers.{i}"
        yield from _norm(f"{layer}.input_layernorm", hidden)
        for part, rows in (("q_proj", hidden), ("k_proj", kv), ("v_proj", kv), ("dense", hidden)):
            yield from _linear(f"{layer}.self_attn.{part}", rows, hidden)
        yield from _linear(f"{layer}.mlp.fc1", ffn, hidden)
        yield from _linear(f"{layer}.mlp.fc2", hidden, ffn)
    yield from _norm("model.final_layernorm", hidden)
    yield from _linear("lm_head", vocab, hidden)


def _gemma(config: Config) -> Iterator[Shaped]:
    hidden, ffn = config.integer("hidden_size"), config.integer("intermediate_size")
    yield "model.embed_tokens.weight", (config.integer("vocab_size"), hidden)
    for i in range(config.integer("num_hidden_layers", most=MAX_LAYERS)):
        yield f"model.layers.{i}.input_layernorm.weight", (hidden,)
        yield f"model.layers.{i}.post_attention_layernorm.weight", (hidden,)
        yield from _attention(config, f"model.layers.{i}.self_attn", inputs=False, output=False)
        yield from _gated(f"model.layers.{i}.mlp", hidden, ffn)
    yield "model.norm.weight", (hidden,)


def _stablelm(config: Config) -> Iterator[Shaped]:
    hidden, ffn = config.integer("hidden_size"), config.integer("intermediate_size")
    if config.flag("qk_layernorm", False):
        raise config.unfit("qk_layernorm", "the tensors of such a model are not known here")
    parallel, bias = config.flag("use_parallel_residual", False), config.flag("use_qkv_bias", False)
    yield "model.embed_tokens.weight", (config.integer("vocab_size"), hidden)
    for i in range(config.integer("num_hidden_layers", most=MAX_LAYERS)):
        yield from _norm(f"model.layers.{i}.input_layernorm", hidden)
        if not parallel:
            yield from _norm(f"model.layers.{i}.post_attention_layernorm", hidden)
        yield from _attention(config, f"model.layers.{i}.self_attn", inputs=bias, output=False)
        yield from _gated(f"model.layers.{i}.mlp", hidden, ffn)
    yield from _norm("model.norm", hidden)
    if not config.flag("tie_word_embeddings", False):
        yield "lm_head.weight", (config.integer("vocab_size"), hidden)


def _starcoder2(config: Config) -> Iterator[Shaped]:
    hidden, ffn = config.integer("hidden_size"), config.integer("intermediate_size")
    bias = config.flag("use_bias", True)
    yield "model.embed_tokens.weight", (config.integer("vocab_size"), hidden)
    for i in range(config.integer("num_hidden_layers", most=MAX_LAYERS)):
        yield from _norm(f"model.layers.{i}.input_layernorm", hidden)
        yield from _norm(f"model.layers.{i}.post_attention_layernorm", hidden)
        yield from _attention(config, f"model.layers.{i}.self_attn", inputs=bias, output=bias)
        yield from _linear(f"model.layers.{i}.mlp.c_fc", ffn, hidden, bias=bias)
        yield from _linear(f"model.layers.{i}.mlp.c_proj", hidden, ffn, bias=bias)
    yield from _norm("model.norm", hidden)
    if not config.flag("tie_word_embeddings", True):
        yield "lm_head.weight", (config.integer("vocab_size"), hidden)


def _attention(config: Config, at: str, *, inputs: bool, output: bool) -> Iterator[Shaped]:
    hidden, heads = config.integer("hidden_size"), config.integer("num_attention_heads")
    size = config.integer("head_dim", hidden // heads)
    kv = config.integer("num_key_value_heads", heads) * size
    for part, rows in (("q_proj", heads * size), ("k_proj", kv), ("v_proj", kv)):
        yield from _linear(f"{at}.{part}", rows, hidden, bias=inputs)
    yield from _linear(f"{at}.o_proj", hidden, heads * size, bias=output)


def _gated(at: str, hidden: int, ffn: int) -> Iterator[Shaped]:
    yield f"{at}.gate_proj.weight", (ffn, hidden)
    yield f"{at}.up_proj.weight", (ffn, hidden)
    yield f"{at}.down_proj.weight", (hidden, ffn)


_NEMOTRON_H = "NemotronHForCausalLM"
# By class of the model: what has its tensors, and its architecture in GGUF, if it has one.
_OWN: dict[str, tuple[Callable[[Config], Iterator[Shaped]], str | None]] = {
    "OPTForCausalLM": (_opt, None),
    "BloomForCausalLM": (_bloom, "bloom"),
    "GPTNeoXForCausalLM": (_gpt_neox, "gptneox"),
    "PhiForCausalLM": (_phi, "phi2"),
    "GemmaForCausalLM": (_gemma, "gemma"),
    "StableLmForCausalLM": (_stablelm, "stablelm"),
    "Starcoder2ForCausalLM": (_starcoder2, "starcoder2"),
    _NEMOTRON_H: (nemotron_h.tensors, "nemotron_h"),
}
