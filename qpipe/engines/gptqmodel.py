"""GPTQModel: GPTQ and AWQ on any device, the default for both.

It patches transformers and safetensors when it is imported, so nothing else may run in its process.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Literal

from pydantic import field_validator

from qpipe.core.key import Json
from qpipe.errors import StageError
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
        model = GPTQModel.load(str(task.source), wishes)
        going_on = _resuming(task) if resumable else nullcontext((None, 0))
        with _logs_aside(), going_on as (checkpoint, layers):
            told = model.quantize(
                [{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in task.samples],
                batch_size=task.batch,
                calibration_data_min_length=1,
                checkpoint=checkpoint,
                **how,
            )
        _in_order(model.model)
        # Before anything else: a forward pass on a CPU repacks the weights in place.
        model.save(str(task.out))
        _tidy(task.out)
        return {**_told([row for rows in told.values() for row in rows], task),
                "resumed_layers": layers}  # fmt: skip


class GptqmodelGptq(_Gptqmodel):
    """GPTQ in the layout of AutoGPTQ."""

    version = 2
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

    version = 2
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
    """Whether GPTQModel can. AWQ it cannot: it looks for scales in FP16 where it wrote BF16."""
    kind = json.loads((task.source / "config.json").read_bytes()).get("model_type")
    return (
        task.partial is not None
        and config["quant_method"] == "gptq"
        and kind in _RESUMABLE
        and not task.rules
        and config["true_sequential"]
    )


@contextmanager
def _logs_aside() -> Iterator[None]:
    """Keep its logs of modules, which go to ``logs`` in the user's current folder, out of there."""
    from gptqmodel.looper import loop_processor

    with TemporaryDirectory(prefix="qpipe-") as folder:
        loop_processor._PROJECT_LOG_DIR = Path(folder)
        yield


@contextmanager
def _resuming(task: Task) -> Iterator[tuple[Any, int]]:
    """GPTQModel's setting, and how many layers an earlier attempt left whole.

    Raises StageError if they cannot be gone on from, and takes them away.
    """
    from gptqmodel.looper.checkpoint_store import CheckpointConfig, CheckpointError, CheckpointStore

    assert task.partial is not None
    checkpoint = CheckpointConfig(path=task.partial)
    begun = (task.partial / "CURRENT").exists()
    try:
        with CheckpointStore(checkpoint, identity_projection=lambda identity: {}) as store:
            published = store.load({})
        yield checkpoint, published["cursor"] if published else 0
    except CheckpointError as error:
        if not begun:
            raise
        shutil.rmtree(task.partial)
        raise StageError(
            f"GPTQModel cannot go on from the layers that an earlier attempt finished ({error}); "
            "they are removed: give the same command again, and it begins anew"
        ) from error


def _in_order(model: Any) -> None:
    """A layer that was gone on from has its tensors in another order than one just made, and the
    file's follows it."""
    for module in model.modules():
        module._buffers = dict(sorted(module._buffers.items()))


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
