"""Classes of models that a runtime computes, where it does not tell those that it does not know.

ExLlamaV2 0.3.2, exllamav2/architecture.py, its last version: what is not there it loads as if it
were a Llama, with a warning. llama.cpp and transformers refuse what they do not know, and vLLM
falls back to transformers' own code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qpipe.errors import RecipeError

_EXLLAMA = frozenset({
    "CohereForCausalLM", "Cohere2ForCausalLM", "DbrxForCausalLM", "GPT2LMHeadModel",
    "GPTBigCodeForCausalLM", "GemmaForCausalLM", "Gemma2ForCausalLM",
    "Gemma3ForConditionalGeneration", "Glm4ForCausalLM", "GraniteForCausalLM", "IndexForCausalLM",
    "InternLM2ForCausalLM", "LlamaForCausalLM", "MiniCPMForCausalLM", "MistralForCausalLM",
    "MixtralForCausalLM", "OrionForCausalLM", "Phi3ForCausalLM", "Qwen2ForCausalLM",
    "Qwen2VLForConditionalGeneration", "Qwen2_5_VLForConditionalGeneration", "Qwen3ForCausalLM",
    "Qwen3MoeForCausalLM", "Starcoder2ForCausalLM", "YiForCausalLM",
})  # fmt: skip
# Classes that it knows of one kind alone: with Pixtral's tower, and a Mistral of 2024 or 2025.
_WITH_PIXTRAL = ("LlavaForConditionalGeneration", "Mistral3ForConditionalGeneration")


def require(runtime: str, fields: Mapping[str, Any]) -> None:
    """Raise RecipeError for a model, by its config.json, of a class that the runtime does not
    compute rightly."""
    listed = fields.get("architectures")
    name = listed[0] if isinstance(listed, list) and listed else None
    if runtime != "exllama" or not isinstance(name, str) or _is_known(name, fields):
        return
    raise RecipeError(
        f"ExLlamaV2 0.3.2, the last one, does not know the architecture {name}, and would load it "
        "as if it were a Llama"
    )


def _is_known(name: str, fields: Mapping[str, Any]) -> bool:
    if name not in _WITH_PIXTRAL:
        return name in _EXLLAMA
    tower, text = fields.get("vision_config"), fields.get("text_config")
    pixtral = isinstance(tower, Mapping) and tower.get("model_type") == "pixtral"
    # Ministral 3 scales its queries by position, which ExLlamaV2 does not do.
    newer = isinstance(text, Mapping) and text.get("model_type") == "ministral3"
    return pixtral and not newer
