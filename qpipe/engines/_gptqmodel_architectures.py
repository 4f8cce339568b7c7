"""Which architectures GPTQModel quantizes so that a checkpoint loads and computes as the original.

All were tried as random models of two layers (tests/engines/test_gptqmodel_table.py) with GPTQModel
7.6.0 and transformers 5.17.0. GPTQ of others is tried on their first layer, as of all large models.
AWQ of others is refused: it scales columns and undoes that in the norm before them, and where
GPTQModel takes the wrong norm for it (post_attention_layernorm, which in OLMo 2, EXAONE 4 and
Gemma 2 stands behind the attention), or one that feeds other matrices too (Phi), the model that
comes out is another one, and nothing shows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qpipe.errors import RecipeError

_SPLIT = "saves its gate_up_proj as two matrices, and nothing loads them"
_EXPERTS = "saves its experts under other names, and nothing loads them"
_UNREAD = "quantizes it, and transformers cannot compute what comes out"
_FAILS = "fails on it"
_LEFT = "leaves some of its large matrices as they are"

# By the model_type of config.json: what GPTQModel 7.6.0 does.
_WITH_EITHER = {
    "phi3": _SPLIT, "glm": _SPLIT, "glm4": _SPLIT,
    "mixtral": _EXPERTS, "phimoe": _EXPERTS, "lfm2_moe": _EXPERTS, "afmoe": _EXPERTS,
    "minimax": _EXPERTS, "minimax_m2": _EXPERTS, "granitemoe": _EXPERTS,
    "granitemoeshared": _EXPERTS, "gpt_oss": _EXPERTS, "llama4_text": _EXPERTS,
    "glm4_moe": _FAILS, "ernie4_5_moe": _FAILS, "granitemoehybrid": _FAILS, "flex_olmo": _FAILS,
    "gpt_bigcode": _UNREAD, "xglm": _UNREAD, "nanochat": _UNREAD,
    "gemma4_text": _LEFT, "bamba": _LEFT,
}  # fmt: skip
_BY_AWQ = (
    "llama", "mistral", "ministral3", "qwen2", "qwen3", "qwen2_moe", "qwen3_moe", "granite",
    "stablelm", "smollm3", "seed_oss", "ernie4_5", "lfm2", "hunyuan_v1_dense",
)  # fmt: skip
# Which llm-compressor 0.14 does not take either; it was tried on all others.
_ONLY_GGUF = {"gpt_bigcode", "nanochat", "flex_olmo", "gemma4_text", "bamba"} | {
    kind for kind, why in _WITH_EITHER.items() if why == _EXPERTS
}


def check(method: str, config: Mapping[str, Any]) -> None:
    """Raise RecipeError, naming the architecture and an engine that can, for one that it does not
    quantize rightly."""
    kind = config.get("model_type")
    if not isinstance(kind, str):
        return
    why = _WITH_EITHER.get(kind)
    if why is None and method == "awq" and kind not in _BY_AWQ:
        why = f"is known to do AWQ rightly only of {', '.join(_BY_AWQ)}"
    if why is not None:
        raise RecipeError(
            f"quantize={method}: the model is a {kind} (model_type in config.json), and GPTQModel "
            f"{why}: {_instead(method, kind)}"
        )


def _instead(method: str, kind: str) -> str:
    if kind in _ONLY_GGUF:
        return "take quantize=gguf"
    if method == "awq" and kind not in _WITH_EITHER:
        return "take quantize=gptq"
    return "take quantize=gptq quantize.engine=llmcompressor, or quantize=gguf"
