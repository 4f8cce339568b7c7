"""Mixtral: Llama with experts in place of the feed-forward network; in GGUF it is a llama too.

Source: llama.cpp, conversion/llama.py (LlamaModel.modify_tensors): w1, w2 and w3 of all experts
become ffn_gate_exps, ffn_down_exps and ffn_up_exps. The router stays F32 (conversion/base.py,
prepare_tensors). transformers' MixtralConfig writes no head size where config.json has none.
"""

from __future__ import annotations

from dataclasses import replace

from qpipe.gguf.arch import llama
from qpipe.gguf.arch.base import BASE, MAX_EXPERTS, Spec
from qpipe.gguf.config_fields import Constant, Field, Positive, Whole

ARCHITECTURE = replace(
    llama.ARCHITECTURE,
    hf_names=("MixtralForCausalLM",),
    fields={
        **BASE,
        "model_type": Constant("mixtral"),
        "num_key_value_heads": Whole(8, null=True),
        "rms_norm_eps": Positive(1e-5),
        "num_local_experts": Whole(8, most=MAX_EXPERTS),
        "num_experts": Whole(null=True, most=MAX_EXPERTS),
        "num_experts_per_tok": Whole(2),
        "router_jitter_noise": Field(),
    },
    rope=replace(llama.ARCHITECTURE.rope, theta=1e6),
    head_dim_default=False,
    layer={
        **llama.ATTENTION,
        "block_sparse_moe.gate.weight": Spec(("experts", "hidden")),
    },
    experts={
        "block_sparse_moe.experts.{}.w1.weight": Spec(("ffn", "hidden")),
        "block_sparse_moe.experts.{}.w2.weight": Spec(("hidden", "ffn")),
        "block_sparse_moe.experts.{}.w3.weight": Spec(("ffn", "hidden")),
    },
    expert_counts=("num_experts", "num_local_experts"),
)
