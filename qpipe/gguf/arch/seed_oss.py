"""Seed-OSS: Qwen2 with a head size of its own.

Source: llama.cpp, conversion/olmo.py (SeedOssModel), src/models/seed-oss.cpp; transformers'
SeedOssConfig for the defaults.
"""

from __future__ import annotations

from dataclasses import replace

from qpipe.gguf import windows
from qpipe.gguf.arch import qwen2
from qpipe.gguf.arch.base import BASE, Architecture
from qpipe.gguf.config_fields import Constant, Field, Flag, Only, Whole

ARCHITECTURE = Architecture(
    name="seed_oss",
    hf_names=("SeedOssForCausalLM",),
    fields={
        **BASE,
        "model_type": Constant("seed_oss"),
        "num_key_value_heads": Whole(8, null=True),
        "head_dim": Whole(128, null=True),
        "attention_bias": Flag(True),
        "attention_out_bias": Only(False, why="llama.cpp loads no bias of o_proj here"),
        "mlp_bias": Only(False, why="llama.cpp loads no biases of the feed-forward network here"),
        "residual_dropout": Field(),
    },
    check=windows.everywhere,
    head_dim_default=True,
    model=qwen2.ARCHITECTURE.model,
    layer={
        name: replace(spec, when="attention_bias") if name.endswith(".bias") else spec
        for name, spec in qwen2.ARCHITECTURE.layer.items()
    },
)
