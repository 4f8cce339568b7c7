"""The random checkpoints that files are made from: `python -m bench.models NAME FOLDER` makes one,
in a process of its own, whose memory goes with it.

Each has a published model's shape, or a smaller one of its family.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from bench.checkpoint import FP8_BLOCK, Checkpoint, Shape

_COMMON: dict[str, object] = {
    "dtype": "bfloat16",
    "max_position_embeddings": 4096,
    "hidden_act": "silu",
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def orion() -> Checkpoint:
    """A class that qpipe leaves to llama.cpp's converter, 0.49 billion weights."""
    hidden, ffn, layers, heads, kv_heads, vocab = 1024, 4096, 28, 16, 4, 32000
    kv = hidden // heads * kv_heads
    biases: dict[str, Shape] = {
        "input_layernorm.bias": (hidden,),
        "post_attention_layernorm.bias": (hidden,),
    }
    layer = _norms(hidden) | biases | _attention(hidden, hidden, kv) | _ffn("mlp", hidden, ffn)
    config = {
        **_COMMON,
        "architectures": ["OrionForCausalLM"],
        "model_type": "orion",
        "hidden_size": hidden,
        "intermediate_size": ffn,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocab,
        "rms_norm_eps": 1e-6,
    }
    outside: dict[str, Shape] = {"model.norm.bias": (hidden,), "lm_head.weight": (vocab, hidden)}
    return Checkpoint(config, dict(_shapes(vocab, hidden, layers, layer)) | outside)


def qwen25_7b(layers: int) -> Checkpoint:
    """Qwen2.5-7B's matrices, in few layers and with fewer tokens: 0.47 billion weights with one
    layer, 0.23 more with each other."""
    hidden, ffn, heads, kv_heads, vocab = 3584, 18944, 28, 4, 65536
    kv = hidden // heads * kv_heads
    biases: dict[str, Shape] = {
        "self_attn.q_proj.bias": (hidden,),
        "self_attn.k_proj.bias": (kv,),
        "self_attn.v_proj.bias": (kv,),
    }
    layer = _norms(hidden) | biases | _attention(hidden, hidden, kv) | _ffn("mlp", hidden, ffn)
    config = {
        **_COMMON,
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "hidden_size": hidden,
        "intermediate_size": ffn,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocab,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
        "tie_word_embeddings": True,
    }
    return Checkpoint(config, dict(_shapes(vocab, hidden, layers, layer)))


def llama32(hidden: int, ffn: int, layers: int, vocab: int) -> Checkpoint:
    """A Llama 3.2 with tied embeddings, of heads of 64 and four queries to a key."""
    layer = _norms(hidden) | _attention(hidden, hidden, hidden // 4) | _ffn("mlp", hidden, ffn)
    config = {
        **_COMMON,
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": ffn,
        "num_hidden_layers": layers,
        "num_attention_heads": hidden // 64,
        "num_key_value_heads": hidden // 256,
        "head_dim": 64,
        "vocab_size": vocab,
        "rms_norm_eps": 1e-5,
        "rope_theta": 5e5,
        "tie_word_embeddings": True,
    }
    return Checkpoint(config, dict(_shapes(vocab, hidden, layers, layer)))


def mixtral() -> Checkpoint:
    """0.91 billion weights, of which 0.81 in 512 experts of 8 layers, each matrix a tensor."""
    hidden, ffn, layers, heads, kv_heads, experts, vocab = 1024, 512, 8, 16, 4, 64, 32000
    layer = _norms(hidden) | _attention(hidden, hidden, hidden // heads * kv_heads)
    layer["block_sparse_moe.gate.weight"] = (experts, hidden)
    for expert in range(experts):
        prefix = f"block_sparse_moe.experts.{expert}"
        layer[f"{prefix}.w1.weight"] = layer[f"{prefix}.w3.weight"] = (ffn, hidden)
        layer[f"{prefix}.w2.weight"] = (hidden, ffn)
    config = {
        **_COMMON,
        "architectures": ["MixtralForCausalLM"],
        "model_type": "mixtral",
        "hidden_size": hidden,
        "intermediate_size": ffn,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "num_local_experts": experts,
        "num_experts_per_tok": 2,
        "vocab_size": vocab,
        "rms_norm_eps": 1e-5,
        "rope_theta": 1e6,
    }
    outside: dict[str, Shape] = {"lm_head.weight": (vocab, hidden)}
    return Checkpoint(config, dict(_shapes(vocab, hidden, layers, layer)) | outside)


def qwen3_bf16() -> Checkpoint:
    """About Qwen3-0.6B: 0.60 billion weights."""
    hidden, ffn, layers, vocab = 1024, 3072, 28, 151936
    layer = _qwen3_attention(hidden) | _ffn("mlp", hidden, ffn)
    config = _qwen3(hidden, layers, vocab) | {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "intermediate_size": ffn,
    }
    return Checkpoint(config, dict(_shapes(vocab, hidden, layers, layer)))


def qwen3_fp8() -> Checkpoint:
    """The same as Qwen3-0.6B-FP8 is published: blocks of 128 × 128."""
    plain = qwen3_bf16()
    quantization = {
        "quant_method": "fp8",
        "fmt": "e4m3",
        "activation_scheme": "dynamic",
        "weight_block_size": [FP8_BLOCK, FP8_BLOCK],
    }
    config = {**plain.config, "quantization_config": quantization}
    return Checkpoint(config, plain.shapes, fp8=True)


def _qwen3(hidden: int, layers: int, vocab: int) -> dict[str, object]:
    return {
        **_COMMON,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": hidden // 64,
        "num_key_value_heads": hidden // 128,
        "head_dim": 128,
        "vocab_size": vocab,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
        "attention_bias": False,
        "tie_word_embeddings": True,
    }


def _qwen3_attention(hidden: int) -> dict[str, Shape]:
    norms: dict[str, Shape] = {
        "self_attn.q_norm.weight": (128,),
        "self_attn.k_norm.weight": (128,),
    }
    return _norms(hidden) | norms | _attention(hidden, 2 * hidden, hidden)


def _norms(hidden: int) -> dict[str, Shape]:
    return {
        "input_layernorm.weight": (hidden,),
        "post_attention_layernorm.weight": (hidden,),
    }


def _attention(hidden: int, queries: int, keys: int) -> dict[str, Shape]:
    return {
        "self_attn.q_proj.weight": (queries, hidden),
        "self_attn.k_proj.weight": (keys, hidden),
        "self_attn.v_proj.weight": (keys, hidden),
        "self_attn.o_proj.weight": (hidden, queries),
    }


def _ffn(prefix: str, hidden: int, ffn: int) -> dict[str, Shape]:
    return {
        f"{prefix}.gate_proj.weight": (ffn, hidden),
        f"{prefix}.up_proj.weight": (ffn, hidden),
        f"{prefix}.down_proj.weight": (hidden, ffn),
    }


def _shapes(
    vocab: int, hidden: int, layers: int, layer: dict[str, Shape]
) -> Iterator[tuple[str, Shape]]:
    yield "model.embed_tokens.weight", (vocab, hidden)
    for number in range(layers):
        for name, shape in layer.items():
            yield f"model.layers.{number}.{name}", shape
    yield "model.norm.weight", (hidden,)


MODELS: dict[str, Callable[[], Checkpoint]] = {
    "orion": orion,
    "mixtral": mixtral,
    "llama-3.2-1b": partial(llama32, 2048, 8192, 16, 128256),  # 1.24 billion weights
    "llama-3.2-small": partial(llama32, 1024, 4096, 4, 32000),  # 0.09 billion
    "qwen2.5-7b-1-layer": partial(qwen25_7b, 1),
    "qwen2.5-7b-4-layers": partial(qwen25_7b, 4),
    "qwen3-bf16": qwen3_bf16,
    "qwen3-fp8": qwen3_fp8,
}


if __name__ == "__main__":
    MODELS[sys.argv[1]]().write(Path(sys.argv[2]))
