"""bitsandbytes: NF4, FP4 and INT8, without data; transformers packs while it loads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from qpipe.core.key import Json
from qpipe.engines.common import unsupported
from qpipe.engines.common.checkpoint_engine import CheckpointEngine, Target, Task
from qpipe.engines.common.methods import BnbParams
from qpipe.engines.common.unsupported import NOT_LINEAR
from qpipe.stages.device import CUDA


class BitsandbytesParams(BnbParams):
    """All that there is."""

    RULES = ("skip",)

    engine: Literal["bitsandbytes"] = "bitsandbytes"


class Bitsandbytes(CheckpointEngine):
    """The 4-bit types in blocks of 64, and LLM.int8()."""

    version = 1
    Params = BitsandbytesParams
    # transformers 5.17 turns Conv1D matrices before they are packed (integrations/bitsandbytes.py).
    REFUSES: ClassVar[Mapping[str, str]] = {"falcon": NOT_LINEAR["falcon"]}
    PACKAGES = ("bitsandbytes", "torch", "transformers")
    EXTRA = "bnb"

    @classmethod
    def allow(cls, params: BitsandbytesParams, target: Target) -> None:
        """Raises RecipeError for experts."""
        instead = "quantize=rtn, quantize=gptq or quantize=gguf"
        unsupported.refuse_experts("bitsandbytes", target.quantized, instead)

    @classmethod
    def card_memory(cls, params: BitsandbytesParams, target: Target) -> int:
        """The whole model is there, packed."""
        weights = sum(rows * columns for rows, columns in target.quantized.values())
        return int(weights * params.bits_per_weight() / 8)

    def make(self, params: BitsandbytesParams, task: Task) -> Mapping[str, Json]:
        """A module is packed as soon as its weights are read."""
        import torch
        from transformers import AutoModelForCausalLM, BitsAndBytesConfig

        torch.set_num_threads(task.threads)
        # transformers 5.17 leaves alone what this list names, and the output matrix only without
        # one (quantizers/base.py, get_modules_to_not_convert).
        skipped = [*task.skipped, "lm_head"] if task.skipped else None
        settings: Any = BitsAndBytesConfig
        if params.type == "int8":
            config = settings(
                load_in_8bit=True,
                llm_int8_threshold=params.threshold,
                llm_int8_skip_modules=skipped,
            )
        else:
            config = settings(
                load_in_4bit=True,
                bnb_4bit_quant_type=params.type,
                bnb_4bit_use_double_quant=params.double_quant,
                bnb_4bit_compute_dtype=getattr(torch, params.compute_dtype),
                llm_int8_skip_modules=skipped,
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
