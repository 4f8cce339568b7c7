"""A random checkpoint of Qwen2's shape with about 0.57 billion weights, or a deeper one.

`python -m bench.qwen2 FOLDER LAYERS` makes it in a process of its own, whose memory goes with it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bench.checkpoint import Checkpoint
from qpipe.gguf import convert, imatrix

LAYERS = 24
IMATRIX = "imatrix.gguf"
_HIDDEN, _INTER, _HEADS, _KV_HEADS, _VOCAB = 1024, 4864, 16, 2, 151936
_KV = _HIDDEN // _HEADS * _KV_HEADS
_LAYER = {
    "input_layernorm.weight": (_HIDDEN,),
    "mlp.down_proj.weight": (_HIDDEN, _INTER),
    "mlp.gate_proj.weight": (_INTER, _HIDDEN),
    "mlp.up_proj.weight": (_INTER, _HIDDEN),
    "post_attention_layernorm.weight": (_HIDDEN,),
    "self_attn.k_proj.bias": (_KV,),
    "self_attn.k_proj.weight": (_KV, _HIDDEN),
    "self_attn.o_proj.weight": (_HIDDEN, _HIDDEN),
    "self_attn.q_proj.bias": (_HIDDEN,),
    "self_attn.q_proj.weight": (_HIDDEN, _HIDDEN),
    "self_attn.v_proj.bias": (_KV,),
    "self_attn.v_proj.weight": (_KV, _HIDDEN),
}


def make(folder: Path, layers: int) -> None:
    """Write the checkpoint in BF16, and an importance matrix for all of its layers' matrices."""
    rng = Checkpoint(_config(layers), dict(_shapes(layers))).write(folder)
    _write_imatrix(folder, rng)


def _config(layers: int) -> dict[str, object]:
    return {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "dtype": "bfloat16",
        "hidden_size": _HIDDEN,
        "intermediate_size": _INTER,
        "num_hidden_layers": layers,
        "num_attention_heads": _HEADS,
        "num_key_value_heads": _KV_HEADS,
        "vocab_size": _VOCAB,
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }


def _shapes(layers: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "model.embed_tokens.weight", (_VOCAB, _HIDDEN)
    for layer in range(layers):
        for name, shape in _LAYER.items():
            yield f"model.layers.{layer}.{name}", shape
    yield "model.norm.weight", (_HIDDEN,)


def _write_imatrix(folder: Path, rng: np.random.Generator) -> None:
    outputs = convert.prepare(folder, outtype="F16").outputs
    matrices = [output for output in outputs if output.name.startswith("blk.")]
    sums = {
        output.name: (rng.random(output.shape[-1]) + 0.1, 1.0)
        for output in matrices
        if len(output.shape) > 1
    }
    out = folder / IMATRIX
    imatrix.write(out, sums, datasets=["random"], chunks=1, chunk_size=512)


if __name__ == "__main__":
    make(Path(sys.argv[1]), int(sys.argv[2]))
