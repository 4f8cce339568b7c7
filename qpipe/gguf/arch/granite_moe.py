"""Granite 3 with experts, gate and up projection of all of them in one tensor.

Source: llama.cpp, conversion/granite.py (GraniteMoeModel), src/models/granite.cpp; transformers'
GraniteMoeConfig for the defaults.
"""

from __future__ import annotations

from dataclasses import replace

from qpipe.gguf.arch import granite, llama, views
from qpipe.gguf.arch.base import MAX_EXPERTS, Part, Spec
from qpipe.gguf.config_fields import Constant, Fields, Whole

FIELDS: Fields = {
    **granite.FIELDS,
    "num_local_experts": Whole(8, most=MAX_EXPERTS),
    "num_experts_per_tok": Whole(2),
}
ATTENTION = {
    name: spec
    for name, spec in llama.ARCHITECTURE.layer.items()
    if name.startswith(("self_attn.", "input_", "post_"))
}
EXPERTS = {
    "block_sparse_moe.input_linear.weight": Spec(
        ("experts", "ffn2", "hidden"),
        parts=(
            Part("ffn_gate_exps.weight", ("experts", "ffn", "hidden"), views.half(0)),
            Part("ffn_up_exps.weight", ("experts", "ffn", "hidden"), views.half(1)),
        ),
    ),
    "block_sparse_moe.output_linear.weight": Spec(
        ("experts", "hidden", "ffn"), name="ffn_down_exps.weight"
    ),
    "block_sparse_moe.router.layer.weight": Spec(("experts", "hidden"), name="ffn_gate_inp.weight"),
}

ARCHITECTURE = replace(
    granite.ARCHITECTURE,
    name="granitemoe",
    hf_names=("GraniteMoeForCausalLM",),
    fields={**FIELDS, "model_type": Constant("granitemoe")},
    expert_counts=("num_local_experts",),
    after_file_type=granite.after_file_type("granitemoe"),
    layer={**ATTENTION, **EXPERTS},
)
