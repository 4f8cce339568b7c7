"""Classes that a runtime would compute wrongly without a word."""

from __future__ import annotations

from typing import Any

import pytest

from qpipe.errors import RecipeError
from qpipe.runtimes import architectures

PIXTRAL = {"model_type": "pixtral"}


def mistral(kind: str, **more: Any) -> dict[str, Any]:
    return {
        "architectures": ["Mistral3ForConditionalGeneration"],
        "text_config": {"model_type": kind},
        **more,
    }


@pytest.mark.parametrize(
    "fields",
    [
        {"architectures": ["LlamaForCausalLM"]},
        {"architectures": ["Qwen3MoeForCausalLM"]},
        mistral("mistral", vision_config=PIXTRAL),
        {},
    ],
)
def test_known_to_exllama(fields: dict[str, Any]) -> None:
    architectures.require("exllama", fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"architectures": ["Gemma4ForConditionalGeneration"]},
        {"architectures": ["NemotronHForCausalLM"]},
        mistral("ministral3", vision_config=PIXTRAL),
        mistral("mistral"),
    ],
)
def test_unknown_to_exllama_alone(fields: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=str(fields["architectures"][0])):
        architectures.require("exllama", fields)
    for runtime in ("llama.cpp", "vllm", "transformers"):
        architectures.require(runtime, fields)
