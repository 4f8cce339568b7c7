"""Ernie 4.5, dense: Llama's layers, with RoPE that turns neighbours as they are.

Source: llama.cpp, conversion/ernie.py (Ernie4_5Model), src/models/ernie4-5.cpp; transformers'
Ernie4_5Config for the defaults.
"""

from __future__ import annotations

from qpipe.gguf import windows
from qpipe.gguf.arch import qwen2
from qpipe.gguf.arch.base import BASE, Architecture
from qpipe.gguf.config_fields import Constant, Fields, Flag, Only, Positive, Whole
from qpipe.gguf.scalings import Scalings

FIELDS: Fields = {
    **BASE,
    "rms_norm_eps": Positive(1e-5),
    "tie_word_embeddings": Flag(True),
    "use_bias": Only(False, None, why="llama.cpp loads no biases here"),
}

ARCHITECTURE = Architecture(
    name="ernie4_5",
    hf_names=("Ernie4_5ForCausalLM", "Ernie4_5_ForCausalLM"),
    fields={
        **FIELDS,
        "model_type": Constant("ernie4_5"),
        "num_key_value_heads": Whole(2, null=True),
        "head_dim": Whole(128, null=True),
    },
    rope=Scalings(theta=5e5),
    check=windows.everywhere,
    space_prefix="last",
    model=qwen2.ARCHITECTURE.model,
    layer={
        name: spec for name, spec in qwen2.ARCHITECTURE.layer.items() if not name.endswith(".bias")
    },
)
