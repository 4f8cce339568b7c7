"""AWQ by AutoAWQ 0.2.9, in an environment of its own: for results as its users had them.

It is deprecated; gptqmodel does the same in the main environment, and faster.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import field_validator

from qpipe.calibration.text.samples import token_ids
from qpipe.core.graph import Resources
from qpipe.core.key import Json
from qpipe.engines.common import checkpoint_engine, checkpoint_files
from qpipe.engines.common.isolated_engine import ISOLATED, IsolatedEngine
from qpipe.engines.common.methods import AwqParams, GroupSize
from qpipe.engines.common.module_rules import resolve
from qpipe.engines.common.output_check import ROUTER
from qpipe.environments.environment import Environment
from qpipe.errors import DataError, RecipeError
from qpipe.results.model import ModelFacts
from qpipe.stages import base

# Source: AutoAWQ 0.2.9, awq/models/auto.py, ``AWQ_CAUSAL_LM_MODEL_MAP``.
_MODELS = (
    "mpt", "llama", "opt", "RefinedWeb", "RefinedWebModel", "exaone", "falcon", "bloom", "gptj",
    "gpt_bigcode", "mistral", "mixtral", "gpt_neox", "aquila", "Yi", "qwen", "baichuan", "llava",
    "qwen2", "qwen3", "qwen3_moe", "gemma", "gemma2", "stablelm", "starcoder2", "llava_next",
    "phi3", "phi3_v", "cohere", "deepseek_v2", "deepseek_v3", "minicpm", "internlm2", "minicpm3",
    "qwen2_vl", "qwen2_5_vl", "qwen2_5_omni",
)  # fmt: skip
# Of these AutoAWQ 0.2.9 searches no clipping, for which rows go by 64: awq/quantize/quantizer.py.
_NOT_CLIPPED = ("q_", "k_", "query", "key", "Wqkv")


class AutoAwqParams(AwqParams):
    """Settings of AWQ that AutoAWQ can pack: four bits with zero points, in groups."""

    RULES = ("skip",)

    engine: Literal["autoawq"] = "autoawq"
    bits: Literal[4] = 4
    group_size: GroupSize = 128
    zero_point: bool = True

    @field_validator("group_size")
    @classmethod
    def _in_groups(cls, size: int) -> int:
        if size == -1:
            raise ValueError(
                "autoawq quantizes in groups: set quantize.group_size to 128, 64 or 32, or "
                "quantize.engine to gptqmodel"
            )
        return size

    @field_validator("zero_point")
    @classmethod
    def _with_zero_points(cls, zero_point: bool) -> bool:
        if not zero_point:
            raise ValueError(
                "autoawq packs GEMM and GEMV only with zero points: set quantize.zero_point to "
                "true, or quantize.engine to gptqmodel"
            )
        return zero_point


class AutoAwq(IsolatedEngine):
    """On a GPU, or slowly on a CPU."""

    version = 1
    roles = ("model", "calibration")
    accepts: ClassVar[Mapping[str, tuple[str, ...]]] = {"model": (base.CHECKPOINT,)}
    Params = AutoAwqParams
    environment = Environment("autoawq", ISOLATED, built=("autoawq",))
    tool = "autoawq"

    @classmethod
    def resources(cls, params: AutoAwqParams, *, cores: int) -> Resources:
        """The model in half precision, the inputs of a layer, and torch; a GPU if that is the
        device."""
        return Resources(cpus=cores, memory=3 << 30, gpus=params.gpus, memory_per_input_byte=1.5)

    @classmethod
    def refuse(cls, params: AutoAwqParams, order: base.Order) -> None:
        """Raises RecipeError for architectures and shapes that AutoAWQ fails at."""
        from qpipe.gguf import jsonfile

        super().refuse(params, order)
        if "model" in order.configs:
            _require_known(jsonfile.load(order.configs["model"]))
        if "model" not in order.inputs:
            return
        target = checkpoint_engine.read_target(params, order)
        _require_known(target.config)
        for name, (rows, columns) in target.quantized.items():
            if ROUTER.search(name):
                continue
            if columns % params.group_size:
                raise RecipeError(
                    f"quantize.group_size={params.group_size}: rows of {name} have {columns} "
                    "weights, which are no multiple; choose another size"
                )
            clipped = not any(word in name for word in _NOT_CLIPPED)
            # AutoAWQ 0.2.9 asserts in its search for clipping, and packs 8 rows into a word.
            if rows % (64 if clipped else 8):
                raise RecipeError(
                    f"model.source: {name} has {rows} rows, and autoawq takes multiples of "
                    f"{64 if clipped else 8}; quantize.modules={{{name.split('.')[-1]}: skip}} "
                    "leaves it alone, quantize.engine=gptqmodel may take it"
                )

    def run(self, params: AutoAwqParams, work: base.Work) -> ModelFacts:
        """Raises CheckpointError (the model), DataError (calibration), RecipeError (rules)."""
        from qpipe.packed import transformers4_config

        self.refuse(params, work)
        source = work.inputs["model"]
        samples = _usable(token_ids(work.inputs["calibration"]))
        with transformers4_config.view(source) as folder:
            request: dict[str, Json] = {
                "bits": params.bits,
                "group_size": params.group_size,
                "version": params.version,
                "skip": _skipped(params, source),
                "samples": samples,
                "rope_theta": transformers4_config.theta(folder),
                "shard": "5GB",
            }
            result = self.call(request, work, inputs={"model": folder}, device=params.computes_on)
        checkpoint_files.bring_along(source, work.out)
        transformers4_config.write_config(source, work.out, result.pop("config"), dtype="fp16")
        available = sum(map(len, samples))
        wish = checkpoint_engine.wish(
            self.tool, params, checkpoint_engine.read_target(params, work)
        )
        facts = checkpoint_engine.facts(work.out, source=source, wish=wish)
        return facts.adding(
            notes=[*_notes(result["tokens"], available), *(facts.notes or ())],
            calibration_tokens=result["tokens"],
            calibration_tokens_given=available,
            **self.told(result),
        )


def _require_known(config: Mapping[str, Any]) -> None:
    kind = config.get("model_type")
    if kind not in _MODELS:
        raise RecipeError(
            f"model.source: autoawq 0.2.9 does not know models of type {kind!r}; "
            "quantize.engine=gptqmodel does AWQ too"
        )


def _usable(samples: list[list[int]]) -> list[list[int]]:
    if not any(samples):
        raise DataError("the calibration has no tokens; give a longer calibration.text")
    return samples


def _skipped(params: AutoAwqParams, source: Path) -> list[str]:
    """The modules within a layer that rules leave alone. Raises RecipeError for some layers only.

    AutoAWQ knows a module by its name within its layer.
    """
    from qpipe.packed import structure

    if not params.modules:
        return []
    matrices = (name for name, t in structure.read(source).plain.items() if len(t.shape) == 2)
    layered = [name.removesuffix(".weight") for name in matrices if re.search(r"\.\d+\.", name)]
    left_alone = resolve(params.modules, layered)
    # AutoAWQ 0.2.9 knows a module by its name within its layer.
    inner = {name: re.split(r"\.\d+\.", name, maxsplit=1)[1] for name in layered}
    skipped = sorted({inner[name] for name in left_alone})
    for name in layered:
        if inner[name] in skipped and name not in left_alone:
            raise RecipeError(
                f"quantize.modules: autoawq can leave {inner[name]!r} alone in all layers or in "
                f"none, and {name} is to be quantized; quantize.engine=gptqmodel can choose"
            )
    return skipped


def _notes(tokens: Any, available: int) -> Sequence[str]:
    if tokens == available:
        return []
    return [
        f"autoawq calibrated on {tokens} of the {available} tokens given: it cuts them into blocks "
        "as long as the longest sample, and leaves out what fills none"
    ]
