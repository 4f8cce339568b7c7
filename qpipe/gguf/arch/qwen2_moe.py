"""Qwen1.5-MoE and Qwen2-MoE: Qwen2's attention, many small experts and one that all share.

Source: llama.cpp, conversion/qwen.py (Qwen2MoeModel). Router and the shared expert's gate stay
F32 (conversion/base.py, prepare_tensors).
"""

from __future__ import annotations

from qpipe.gguf import values
from qpipe.gguf.arch import qwen2
from qpipe.gguf.arch.base import Architecture, Dims, Spec
from qpipe.gguf.config import Config

EXPERTS = {
    "mlp.experts.{}.down_proj.weight": Spec(("hidden", "expert_ffn")),
    "mlp.experts.{}.gate_proj.weight": Spec(("expert_ffn", "hidden")),
    "mlp.experts.{}.up_proj.weight": Spec(("expert_ffn", "hidden")),
}
ROUTER = {"mlp.gate.weight": Spec(("experts", "hidden"), f32=True)}


def check(config: Config) -> None:
    """Refuse what mixes layers with and without experts."""
    if config.fields.get("mlp_only_layers"):
        raise config.bad("mlp_only_layers", "empty, the only case that GGUF can express")
    if config.integer("decoder_sparse_step", 1) != 1:
        raise config.bad("decoder_sparse_step", "1, the only case that GGUF can express")


def _after_file_type(config: Config, dims: Dims) -> values.Metadata:
    return {
        "qwen2moe.expert_feed_forward_length": values.u32(dims.expert_ffn),
        "qwen2moe.expert_shared_feed_forward_length": values.u32(dims.shared_ffn),
    }


ARCHITECTURE = Architecture(
    name="qwen2moe",
    hf_names=("Qwen2MoeForCausalLM",),
    defaults={
        "num_experts": 60,
        "num_experts_per_tok": 4,
        "moe_intermediate_size": 1408,
        "shared_expert_intermediate_size": 5632,
    },
    check=check,
    after_file_type=_after_file_type,
    model=qwen2.ARCHITECTURE.model,
    layer={
        name: spec for name, spec in qwen2.ARCHITECTURE.layer.items() if not name.startswith("mlp.")
    }
    | ROUTER
    | {
        "mlp.shared_expert.gate_proj.weight": Spec(("shared_ffn", "hidden")),
        "mlp.shared_expert.up_proj.weight": Spec(("shared_ffn", "hidden")),
        "mlp.shared_expert.down_proj.weight": Spec(("hidden", "shared_ffn")),
        "mlp.shared_expert_gate.weight": Spec(("one", "hidden"), f32=True),
    },
    experts=EXPERTS,
)
