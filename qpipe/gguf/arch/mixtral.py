"""Mixtral: Llama with experts in place of the feed-forward network; in GGUF it is a llama too.

Source: llama.cpp, conversion/llama.py (LlamaModel.modify_tensors): w1, w2 and w3 of all experts
become ffn_gate_exps, ffn_down_exps and ffn_up_exps. The router stays F32 (conversion/base.py,
prepare_tensors). transformers' MixtralConfig writes no head size where config.json has none.
"""

from __future__ import annotations

from dataclasses import replace

from qpipe.gguf.arch import llama
from qpipe.gguf.arch.base import Spec

ARCHITECTURE = replace(
    llama.ARCHITECTURE,
    hf_names=("MixtralForCausalLM",),
    head_dim_default=False,
    defaults={"num_local_experts": 8, "num_experts_per_tok": 2, "rope_theta": 1e6},
    layer={
        name: spec for name, spec in llama.ARCHITECTURE.layer.items() if not name.startswith("mlp.")
    }
    | {"block_sparse_moe.gate.weight": Spec(("experts", "hidden"), f32=True)},
    experts={
        "block_sparse_moe.experts.{}.w1.weight": Spec(("ffn", "hidden")),
        "block_sparse_moe.experts.{}.w2.weight": Spec(("hidden", "ffn")),
        "block_sparse_moe.experts.{}.w3.weight": Spec(("ffn", "hidden")),
    },
)
