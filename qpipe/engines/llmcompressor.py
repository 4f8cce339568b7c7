"""llm-compressor: GPTQ, AWQ, eight bits and plain rounding, in vLLM's own format."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from qpipe.core.key import Json
from qpipe.engines.common.checkpoint_engine import CheckpointEngine, Target, Task, facts, wish
from qpipe.engines.common.methods import AwqParams, GptqParams, Int8Params, RtnParams
from qpipe.engines.common.module_mix import SENSITIVITY
from qpipe.engines.common.module_rules import ModuleRule
from qpipe.errors import RecipeError
from qpipe.machine import gpus
from qpipe.results.model import ModelFacts
from qpipe.stages.device import CUDA

# What llm-compressor 0.14 calls otherwise than the checkpoint, by model type.
_NAMES = {
    "mixtral": {
        rf"(\.experts\.\d+\.){tool_name}(?=\.)": rf"\g<1>{name}"
        for tool_name, name in (("gate_proj", "w1"), ("down_proj", "w2"), ("up_proj", "w3"))
    }
}


# Llama-like models whose logits llm-compressor 0.14.0.1's SmoothQuant leaves as they are (within
# 5e-7 of their size). Of Gemma 2 and 3 it makes others, as it takes the norm behind the attention
# for the one in front of the MLP, and of Phi, as it leaves out that the MLP reads attention's norm
# (findings/llmcompressor-smoothquant-norms.sh).
_SMOOTHED = (
    "cohere", "granite", "llama", "mistral", "phi3", "qwen2", "qwen3", "seed_oss", "smollm3",
    "stablelm",
)  # fmt: skip


class LlmcompressorGptqParams(GptqParams):
    """Columns are reordered with scales that were fixed before, or not at all."""

    RULES = ("bits", "group_size", "skip")
    MIXED_BITS = (4, 8)

    engine: Literal["llmcompressor"] = "llmcompressor"
    bits: Literal[4, 8] = 4
    true_sequential: Literal[False] = False
    lm_head: Literal[False] = False

    @model_validator(mode="after")
    def _order_it_knows(self) -> LlmcompressorGptqParams:
        # llm-compressor 0.14 knows actorder=weight, which reorders within fixed groups.
        if self.desc_act and not self.static_groups:
            raise ValueError(
                "quantize.desc_act=true: llmcompressor reorders columns only within fixed groups; "
                "set quantize.static_groups=true too, or quantize.engine=gptqmodel"
            )
        return self


class LlmcompressorAwqParams(AwqParams):
    """Written as compressed-tensors, so ``version`` has no say."""

    RULES = ("skip",)
    # llm-compressor 0.14 pins memory in AWQ whatever the device, which fails on a CPU.
    DEVICES = (CUDA,)
    ALONE = (
        "llmcompressor's AWQ needs an accelerator (it pins memory); quantize.engine=gptqmodel does "
        "AWQ on a CPU"
    )

    engine: Literal["llmcompressor"] = "llmcompressor"


class LlmcompressorInt8Params(Int8Params):
    """Settings of eight bits, with the rounding of GPTQ."""

    RULES = ("skip",)

    engine: Literal["llmcompressor"] = "llmcompressor"


class LlmcompressorRtnParams(RtnParams):
    """Settings of plain rounding that its packed format can hold."""

    RULES = ("bits", "group_size", "skip")
    MIXED_BITS = (4, 8)

    engine: Literal["llmcompressor"] = "llmcompressor"
    bits: Literal[4, 8] = 4


class _Llmcompressor(CheckpointEngine):
    """Common base of all methods."""

    PACKAGES = ("llmcompressor", "compressed-tensors", "torch", "transformers")

    @classmethod
    def allow(cls, params: Any, target: Target) -> None:
        """Raises RecipeError for groups that rows do not fill, and for rules for experts that it
        knows by other names."""
        super().allow(params, target)
        ruled = [name for name in target.rules if ".experts." in name]
        if ruled and target.config.get("model_type") in _NAMES:
            raise RecipeError(
                f"quantize.modules: llmcompressor knows {ruled[0]} by another name, and cannot "
                "follow a rule for it; take the rule out, or use quantize=gguf with "
                "quantize.tensor_types"
            )

    def _oneshot(self, modifier: Any, task: Task) -> Mapping[str, Json]:
        import torch
        from llmcompressor import oneshot
        from transformers import AutoModelForCausalLM

        from qpipe.packed.restore import complete

        torch.set_num_threads(task.threads)
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_pretrained(
            task.source, dtype="auto", local_files_only=True
        )
        oneshot(model=model, recipe=modifier, **_data(task))
        model.save_pretrained(task.out, save_compressed=True)
        # llm-compressor 0.14 leaves its own recipe beside the model.
        (task.out / "recipe.yaml").unlink(missing_ok=True)
        # llm-compressor 0.14 leaves out an output matrix that equals the embeddings, tied or not.
        if not task.config.get("tie_word_embeddings"):
            complete(task.out, task.source, _NAMES.get(str(task.config.get("model_type")), {}))
        return {}


class LlmcompressorGptq(_Llmcompressor):
    """W4A16 and W8A16 by GPTQ."""

    version = 1
    roles: ClassVar[tuple[str, ...]] = ("model", "calibration")
    optional_roles = (SENSITIVITY,)
    Params = LlmcompressorGptqParams
    EXTRA = "int8"

    def make(self, params: LlmcompressorGptqParams, task: Task) -> Mapping[str, Json]:
        """A module's Hessian sees its layer as it was before."""
        from llmcompressor.modifiers.gptq import GPTQModifier

        order = "weight" if params.desc_act else None
        weights = {**_weights(params.bits, params.group_size, sym=params.sym), "actorder": order}
        modifier = GPTQModifier(
            config_groups=_groups(task, weights),
            ignore=_ignored(task),
            dampening_frac=params.damp_percent,
            actorder=order,
        )
        return self._oneshot(modifier, task)


class LlmcompressorAwq(_Llmcompressor):
    """W4A16 by AWQ; it pins memory, so it needs an accelerator."""

    version = 1
    roles: ClassVar[tuple[str, ...]] = ("model", "calibration")
    Params = LlmcompressorAwqParams
    EXTRA = "awq"

    @classmethod
    def check(cls) -> str | None:
        """Return the problem, or None if the packages and an accelerator are there."""
        if (problem := super().check()) is not None:
            return problem
        # llm-compressor 0.14 pins memory in AWQ whatever the device, which fails on a CPU.
        if (why := gpus.problem()) is None:
            return None
        return (
            f"llmcompressor's AWQ needs an accelerator (it pins memory), and {why}; "
            "quantize.engine=gptqmodel does AWQ on a CPU"
        )

    def make(self, params: LlmcompressorAwqParams, task: Task) -> Mapping[str, Json]:
        """Scales are searched first, then weights are rounded."""
        from llmcompressor.modifiers.awq import AWQModifier

        weights = _weights(params.bits, params.group_size, sym=not params.zero_point)
        return self._oneshot(
            AWQModifier(config_groups=_groups(task, weights), ignore=_ignored(task)), task
        )


class LlmcompressorInt8(_Llmcompressor):
    """W8A8 with activations rounded as they come, or W8A16, by GPTQ."""

    version = 1
    roles: ClassVar[tuple[str, ...]] = ("model", "calibration")
    Params = LlmcompressorInt8Params
    EXTRA = "int8"

    @classmethod
    def allow(cls, params: LlmcompressorInt8Params, target: Target) -> None:
        """Raises RecipeError for experts."""
        super().allow(params, target)
        if any(".experts." in name for name in target.quantized):
            raise RecipeError(
                "model.source: transformers 5.17 cannot read back experts of which each weight is "
                "a byte; use quantize=rtn quantize.bits=8, or quantize=gguf"
            )

    @classmethod
    def allow_config(cls, params: LlmcompressorInt8Params, config: Mapping[str, Any]) -> None:
        """Raises RecipeError too for a model that SmoothQuant would make another of."""
        super().allow_config(params, config)
        if params.smoothing_strength is not None:
            _refuse_to_smooth(params.smoothing_strength, config)

    def make(self, params: LlmcompressorInt8Params, task: Task) -> Mapping[str, Json]:
        """Weights have a scale for each row, activations one for each token."""
        from llmcompressor.modifiers.gptq import GPTQModifier

        activations = {
            "num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True,
        }  # fmt: skip
        groups = _groups(task, _weights(8, -1, sym=True))
        if params.scheme == "w8a8":
            for group in groups.values():
                group["input_activations"] = activations
        gptq = GPTQModifier(config_groups=groups, ignore=_ignored(task))
        if params.smoothing_strength is None:
            return self._oneshot(gptq, task)
        from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier

        smooth = SmoothQuantModifier(smoothing_strength=params.smoothing_strength)
        return self._oneshot([smooth, gptq], task)

    def facts(self, params: LlmcompressorInt8Params, task: Task) -> ModelFacts:
        """Facts of the checkpoint that came out; smoothed channels are compared but for that."""
        wanted = wish("llmcompressor", params, task)
        smooths = params.smoothing_strength is not None
        return facts(task.out, source=task.source, wish=replace(wanted, scaled=smooths))


class LlmcompressorRtn(_Llmcompressor):
    """Rounding to the nearest."""

    version = 1
    optional_roles = (SENSITIVITY,)
    Params = LlmcompressorRtnParams
    EXTRA = "int8"

    def make(self, params: LlmcompressorRtnParams, task: Task) -> Mapping[str, Json]:
        """Needs no data."""
        from llmcompressor.modifiers.quantization import QuantizationModifier

        weights = _weights(params.bits, params.group_size, sym=params.sym)
        return self._oneshot(
            QuantizationModifier(config_groups=_groups(task, weights), ignore=_ignored(task)), task
        )


def _refuse_to_smooth(strength: float, config: Mapping[str, Any]) -> None:
    """Raises RecipeError unless SmoothQuant is known to leave the model the same."""
    kind = config.get("model_type")
    if kind not in _SMOOTHED:
        raise RecipeError(
            f"quantize.smoothing_strength={strength}: that llm-compressor 0.14's SmoothQuant "
            f"leaves a model the same is known only of {', '.join(_SMOOTHED)}, not of {kind}; "
            "take it out"
        )
    # Such a StableLM has no norm of its own in front of the MLP; llm-compressor stops at it.
    if kind == "stablelm" and config.get("use_parallel_residual"):
        raise RecipeError(
            f"quantize.smoothing_strength={strength}: llm-compressor 0.14 cannot smooth a StableLM "
            "with use_parallel_residual=true in config.json; take it out"
        )


def _weights(bits: int, size: int, *, sym: bool) -> dict[str, Any]:
    """compressed-tensors' QuantizationArgs."""
    strategy = {"strategy": "channel"} if size == -1 else {"strategy": "group", "group_size": size}
    return {"num_bits": bits, "type": "int", "symmetric": sym, **strategy}


def _groups(task: Task, weights: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """A group of modules for each distinct rule, the last for all that have none."""
    groups: dict[str, dict[str, Any]] = {}
    named: dict[ModuleRule, list[str]] = {}
    for name, rule in task.rules.items():
        if not rule.skip:
            named.setdefault(rule, []).append(name)
    for rule, names in named.items():
        own = _weights(
            rule.bits or weights["num_bits"],
            rule.group_size or weights.get("group_size", -1),
            sym=weights["symmetric"],
        )
        extra = {"actorder": weights["actorder"]} if "actorder" in weights else {}
        groups[f"group_{len(groups)}"] = {"targets": _exactly(names), "weights": {**own, **extra}}
    others = [name for name in task.modules if name not in task.rules]
    targets = _exactly(others) if named else ["Linear"]
    groups[f"group_{len(groups)}"] = {"targets": targets, "weights": dict(weights)}
    return groups


def _ignored(task: Task) -> list[str]:
    # llm-compressor 0.14 quantizes the output matrix too if it is not told.
    return ["lm_head", *_exactly(task.skipped)]


def _exactly(names: list[str]) -> list[str]:
    """Names as compressed-tensors' patterns."""
    return [f"re:^{re.escape(name)}$" for name in names]


def _data(task: Task) -> dict[str, Any]:
    if not task.samples:
        return {}
    from datasets import Dataset

    records = [{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in task.samples]
    return {
        "dataset": Dataset.from_list(records),
        "max_seq_length": max(map(len, task.samples)),
        "num_calibration_samples": len(task.samples),
        # llm-compressor 0.14 shuffles by default.
        "shuffle_calibration_samples": False,
        "batch_size": task.batch,
    }
