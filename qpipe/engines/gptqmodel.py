"""GPTQModel: GPTQ and AWQ on any device, the default for both.

It patches transformers and safetensors when it is imported, so nothing else may run in its process.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import field_validator

from qpipe.core.key import Json
from qpipe.stages.checkpoint import CheckpointEngine, Task
from qpipe.stages.methods import AwqParams, GptqParams

# The architectures whose state GPTQModel can write down between layers
# (looper/gptq_checkpoint.py, validate_checkpoint_support).
_RESUMABLE = ("llama", "qwen3_moe")


class GptqmodelGptqParams(GptqParams):
    """All that there is."""

    RULES = ("bits", "group_size", "skip")

    engine: Literal["gptqmodel"] = "gptqmodel"


class GptqmodelAwqParams(AwqParams):
    """The layouts that it writes."""

    RULES = ("skip",)

    engine: Literal["gptqmodel"] = "gptqmodel"

    @field_validator("group_size")
    @classmethod
    def _of_awq(cls, size: int) -> int:
        if size > 128:
            raise ValueError(f"AWQ has groups of 16, 32, 64 and 128, and -1; not of {size}")
        return size


class _Gptqmodel(CheckpointEngine):
    """What both methods share."""

    PACKAGES = ("gptqmodel", "torch", "transformers")

    def _quantize(self, config: Mapping[str, Any], task: Task, **how: Any) -> Mapping[str, Json]:
        # It takes one worker where there are two cores or fewer, and then waits for a second one.
        os.environ["GPTQMODEL_CPU_WORKERS"] = str(max(2, task.threads))
        import torch
        from gptqmodel import GPTQModel, QuantizeConfig

        torch.set_num_threads(task.threads)
        torch.manual_seed(0)
        resumable = _resumable(config, task)
        wishes = QuantizeConfig(
            **config,
            lm_head=bool(how.pop("lm_head", False)),
            dynamic=_dynamic(task) or None,
            offload_to_disk=resumable,
        )
        if resumable:
            from gptqmodel.looper.checkpoint_store import CheckpointConfig

            how["checkpoint"] = CheckpointConfig(path=task.partial)
        model = GPTQModel.load(str(task.source), wishes)
        told = model.quantize(
            [{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in task.samples],
            batch_size=task.batch,
            calibration_data_min_length=1,
            **how,
        )
        # Before anything else: a forward pass on a CPU repacks the weights in place.
        model.save(str(task.out))
        _tidy(task.out)
        return _told([row for rows in told.values() for row in rows], task)


class GptqmodelGptq(_Gptqmodel):
    """GPTQ in the layout of AutoGPTQ."""

    version = 1
    roles: ClassVar[tuple[str, ...]] = ("model", "calibration")
    Params = GptqmodelGptqParams
    EXTRA = "gptq"

    def make(self, params: GptqmodelGptqParams, task: Task) -> Mapping[str, Json]:
        """Resumes between layers where GPTQModel can."""
        config = {
            "quant_method": "gptq",
            "format": "gptq",
            **params.model_dump(
                include={"bits", "group_size", "desc_act", "sym", "damp_percent", "static_groups",
                         "true_sequential"}
            ),
        }  # fmt: skip
        return self._quantize(config, task, lm_head=params.lm_head)


class GptqmodelAwq(_Gptqmodel):
    """AWQ in the layouts of AutoAWQ."""

    version = 1
    roles: ClassVar[tuple[str, ...]] = ("model", "calibration")
    Params = GptqmodelAwqParams
    EXTRA = "awq"

    def make(self, params: GptqmodelAwqParams, task: Task) -> Mapping[str, Json]:
        """Its own choice of a backend fails without an accelerator; torch does everywhere."""
        from gptqmodel import BACKEND

        config = {
            "quant_method": "awq",
            "format": params.version.lower(),
            "bits": params.bits,
            "group_size": params.group_size,
            "sym": not params.zero_point,
        }
        return self._quantize(config, task, backend=BACKEND.TORCH)


def _dynamic(task: Task) -> dict[str, dict[str, int]]:
    """GPTQModel's rules: ``-:`` skips; names are written out, since its first match wins."""
    rules = {}
    for name, rule in task.rules.items():
        exact = "^" + name.replace(".", r"\.") + "$"
        rules[f"-:{exact}" if rule.skip else f"+:{exact}"] = dict(rule.wishes)
    return rules


def _resumable(config: Mapping[str, Any], task: Task) -> bool:
    kind = json.loads((task.source / "config.json").read_bytes()).get("model_type")
    return (
        task.partial is not None
        and kind in _RESUMABLE
        and not task.rules
        and config.get("true_sequential", True)
    )


def _tidy(out: Path) -> None:
    """Take out what differs from run to run: timings, and folders of this machine."""
    (out / "quant_log.csv").unlink(missing_ok=True)
    for path in (out / "quantize_config.json", out / "config.json"):
        fields = json.loads(path.read_bytes())
        fields.get("quantization_config", fields).get("meta", {}).pop("offload_to_disk_path", None)
        path.write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n")


def _told(rows: list[Mapping[str, str]], task: Task) -> dict[str, Json]:
    """The mean loss of all modules, and those that saw fewer tokens than there are."""
    losses = [float(row["loss"]) for row in rows if _is_number(row.get("loss"))]
    short = [
        f"layers.{row['layer']}.{row['module']}"
        for row in rows
        if _is_number(row.get("samples")) and float(row["samples"]) < task.tokens
    ]
    found: dict[str, Json] = {"modules": len(rows), "modules_short_of_tokens": [*short]}
    if losses:
        found["mean_loss"] = sum(losses) / len(losses)
    if short:
        found["notes"] = [
            f"{len(short)} modules saw fewer than the {task.tokens} calibration tokens, such as "
            f"{short[0]}: give more text"
        ]
    return found


def _is_number(text: object) -> bool:
    try:
        float(str(text))
    except ValueError:
        return False
    return True
