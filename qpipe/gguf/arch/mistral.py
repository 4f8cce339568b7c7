"""Mistral: Llama without biases, and with a window that llama.cpp does not compute.

Source: llama.cpp, conversion/llama.py (LlamaModel); transformers' MistralConfig for the defaults.
"""

from __future__ import annotations

from dataclasses import replace

from qpipe.gguf.arch import llama
from qpipe.gguf.arch.base import BASE
from qpipe.gguf.config_fields import Constant, Whole

ARCHITECTURE = replace(
    llama.ARCHITECTURE,
    hf_names=("MistralForCausalLM",),
    fields={
        **BASE,
        "model_type": Constant("mistral"),
        "num_key_value_heads": Whole(8, null=True),
        "sliding_window": Whole(4096, null=True),
    },
    layer={**llama.ATTENTION, **llama.FEED_FORWARD},
)
