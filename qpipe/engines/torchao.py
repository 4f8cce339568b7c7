"""torchao: eight bits for weights, or for activations too, without data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from qpipe.core.key import Json
from qpipe.engines.common import unsupported
from qpipe.engines.common.checkpoint_engine import CheckpointEngine, Target, Task
from qpipe.engines.common.methods import Int8Params
from qpipe.stages.device import CUDA


class TorchaoParams(Int8Params):
    """Both schemes."""

    RULES = ("skip",)

    engine: Literal["torchao"] = "torchao"


class Torchao(CheckpointEngine):
    """A scale for each row, and for each token where activations are rounded too."""

    version = 1
    Params = TorchaoParams
    PACKAGES = ("torchao", "torch", "transformers")
    EXTRA = "int8"

    @classmethod
    def allow(cls, params: TorchaoParams, target: Target) -> None:
        """Raises RecipeError for experts."""
        instead = "quantize=rtn quantize.bits=8, quantize=gptq or quantize=gguf"
        unsupported.refuse_experts("torchao", target.quantized, instead)

    @classmethod
    def card_memory(cls, params: TorchaoParams, target: Target) -> int:
        """The whole model is there, packed."""
        weights = sum(rows * columns for rows, columns in target.quantized.values())
        return int(weights * params.bits_per_weight() / 8)

    def make(self, params: TorchaoParams, task: Task) -> Mapping[str, Json]:
        """Rounds while it loads."""
        import torch
        from torchao.quantization import (
            Int8DynamicActivationInt8WeightConfig,
            Int8WeightOnlyConfig,
        )
        from transformers import AutoModelForCausalLM, TorchAoConfig

        torch.set_num_threads(task.threads)
        dynamic = params.scheme == "w8a8"
        scheme = Int8DynamicActivationInt8WeightConfig() if dynamic else Int8WeightOnlyConfig()
        # transformers 5.17 leaves alone what this list names, and the output matrix only without
        # one (quantizers/base.py, get_modules_to_not_convert).
        config = TorchAoConfig(
            scheme, modules_to_not_convert=[*task.skipped, "lm_head"] if task.skipped else None
        )
        model = AutoModelForCausalLM.from_pretrained(
            task.source,
            quantization_config=config,
            device_map={"": "cuda:0" if params.computes_on == CUDA else "cpu"},
            dtype="auto",
            local_files_only=True,
        )
        model.save_pretrained(task.out)
        return {}
