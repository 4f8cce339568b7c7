"""Qwen1.5-MoE and Qwen2-MoE: Qwen2's attention, many small experts and one that all share.

Source: llama.cpp, conversion/qwen.py (Qwen2MoeModel). Router and the shared expert's gate stay
F32 (conversion/base.py, prepare_tensors).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from qpipe.gguf import values, windows
from qpipe.gguf.arch import qwen2
from qpipe.gguf.arch.base import ALIKE, BASE, MAX_EXPERTS, Architecture, Spec, plain_heads
from qpipe.gguf.arch.dims import Dims
from qpipe.gguf.config import Config
from qpipe.gguf.config_fields import Constant, Fields, Flag, Only, Whole

EXPERTS = {
    "mlp.experts.{}.down_proj.weight": Spec(("hidden", "expert_ffn")),
    "mlp.experts.{}.gate_proj.weight": Spec(("expert_ffn", "hidden")),
    "mlp.experts.{}.up_proj.weight": Spec(("expert_ffn", "hidden")),
}
ROUTER = {"mlp.gate.weight": Spec(("experts", "hidden"))}

SHARED = {
    "mlp.shared_expert.gate_proj.weight": Spec(("shared_ffn", "hidden")),
    "mlp.shared_expert.up_proj.weight": Spec(("shared_ffn", "hidden")),
    "mlp.shared_expert.down_proj.weight": Spec(("hidden", "shared_ffn")),
    "mlp.shared_expert_gate.weight": Spec(("one", "hidden")),
}

EVERY_LAYER: Fields = {
    "mlp_only_layers": Only(None, [], why=f"{ALIKE}, with experts"),
    "decoder_sparse_step": Only(1, why=f"{ALIKE}, with experts"),
}


def _lower_layers(config: Config, layer: int) -> bool:
    return layer % 2 == 0 and not qwen2.upper_layers(config, layer)


def _check(config: Config) -> Iterator[str]:
    plain_heads(config)
    yield from windows.where_used(_lower_layers)(config)


def _after_file_type(config: Config, dims: Dims) -> values.Metadata:
    return {
        "qwen2moe.expert_feed_forward_length": values.u32(dims.expert_ffn),
        "qwen2moe.expert_shared_feed_forward_length": values.u32(dims.shared_ffn),
    }


ARCHITECTURE = Architecture(
    name="qwen2moe",
    hf_names=("Qwen2MoeForCausalLM",),
    fields={
        **BASE,
        **qwen2.WINDOW,
        **EVERY_LAYER,
        "model_type": Constant("qwen2_moe"),
        "num_key_value_heads": Whole(16, null=True),
        "qkv_bias": Flag(True),
        "num_experts": Whole(60, most=MAX_EXPERTS),
        "num_experts_per_tok": Whole(4),
        "moe_intermediate_size": Whole(1408),
        "shared_expert_intermediate_size": Whole(5632),
        "norm_topk_prob": Only(False, why="llama.cpp does not normalize the experts' weights here"),
    },
    check=_check,
    expert_counts=("num_experts",),
    own_head=True,
    after_file_type=_after_file_type,
    model=qwen2.ARCHITECTURE.model,
    layer={
        name: replace(spec, when="qkv_bias") if name.endswith(".bias") else spec
        for name, spec in qwen2.ARCHITECTURE.layer.items()
        if not name.startswith("mlp.")
    }
    | ROUTER
    | SHARED,
    experts=EXPERTS,
)
