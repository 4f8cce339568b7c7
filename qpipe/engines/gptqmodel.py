"""GPTQModel: GPTQ and AWQ on any device, the default for both.

GPTQModel 7.6.0 patches transformers and safetensors when it is imported, so nothing else may run in
its process.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Literal

from pydantic import field_validator

from qpipe.core.key import Json
from qpipe.engines._gptqmodel_architectures import check
from qpipe.engines._gptqmodel_mends import mended, rename_output
from qpipe.engines.common import fused_rules
from qpipe.engines.common.checkpoint_engine import CheckpointEngine, Target, Task
from qpipe.engines.common.checkpoint_files import OUTPUT
from qpipe.engines.common.methods import AwqParams, GptqParams
from qpipe.engines.common.module_mix import SENSITIVITY
from qpipe.errors import RecipeError, StageError
from qpipe.gguf.checkpoint import read_tensors

# The architectures whose state GPTQModel 7.6.0 can write down between layers
# (looper/gptq_checkpoint.py, validate_checkpoint_support).
_RESUMABLE = ("llama", "qwen3_moe")

# GPTQModel 7.6.0, nn_modules/qlinear/torch_awq.py, SUPPORTS_OUT_FEATURES_DIVISIBLE_BY; and
# nn_modules/qlinear/__init__.py, pack_original, which fails in the middle of a group of 32.
_ROWS_OF_AWQ, _SIDE_OF_3_BITS = 8, 32

# Small matrices that GPTQModel 7.6.0's definitions of architectures leave as they are: what chooses
# experts, and the gates of linear attention.
_LEFT_ALONE = re.compile(r"\.(gate|router|router\.layer|wg|shared_expert_gate|in_proj_(a|b|ba))$")


class GptqmodelGptqParams(GptqParams):
    """All that there is."""

    RULES = ("bits", "group_size", "skip")

    engine: Literal["gptqmodel"] = "gptqmodel"

    def can_mix(self, bits: int, group_size: int, shapes: Sequence[tuple[int, int]]) -> bool:
        """Three bits only of matrices whose sides are packed whole."""
        packs = bits != 3 or not any(side % _SIDE_OF_3_BITS for shape in shapes for side in shape)
        return packs and super().can_mix(bits, group_size, shapes)


class GptqmodelAwqParams(AwqParams):
    """The layout that it packs on any device."""

    RULES = ("skip",)

    engine: Literal["gptqmodel"] = "gptqmodel"

    @field_validator("group_size")
    @classmethod
    def _of_awq(cls, size: int) -> int:
        if size > 128:
            raise ValueError(f"AWQ has groups of 16, 32, 64 and 128, and -1; not of {size}")
        return size

    @field_validator("version")
    @classmethod
    def _that_it_packs(cls, version: str) -> str:
        if version != "GEMM":
            raise ValueError(
                f"gptqmodel packs AWQ as GEMM alone: set quantize.version to GEMM, or "
                f"quantize.engine to autoawq for {version}"
            )
        return version


class _Gptqmodel(CheckpointEngine):
    """Common base of both methods, GPTQ and AWQ."""

    # Defuser takes fused experts apart into the matrices that are packed, safetensors writes them.
    PACKAGES = ("gptqmodel", "torch", "transformers", "defuser")

    @classmethod
    def fingerprint(cls, params: Any) -> Mapping[str, Json]:
        """The tools; where there are rules of GPTQ also that they are those of vLLM's names too."""
        own = super().fingerprint(params)
        ruled = params.method == "gptq" and (params.modules or params.target is not None)
        return {**own, "fused_rules": 1} if ruled else own

    @classmethod
    def allow_config(cls, params: Any, config: Mapping[str, Any]) -> None:
        """Raises RecipeError for an architecture that GPTQModel cannot save as it was."""
        super().allow_config(params, config)
        check(params.method, config)

    def _quantize(self, config: Mapping[str, Any], task: Task, **how: Any) -> Mapping[str, Json]:
        # GPTQModel 7.6.0 takes one worker where there are two cores or fewer, and waits for a
        # second one.
        os.environ["GPTQMODEL_CPU_WORKERS"] = str(max(2, task.threads))
        import torch
        from gptqmodel import GPTQModel, QuantizeConfig

        torch.set_num_threads(task.threads)
        torch.manual_seed(0)
        resumable = _resumable(config, task)
        wishes = QuantizeConfig(
            **config,
            lm_head=OUTPUT in task.quantized,
            dynamic=_dynamic(config, task) or None,
            # GPTQModel 7.6.0 resumes only with this (looper/gptq_checkpoint.py).
            offload_to_disk=resumable,
        )
        with mended():
            model = GPTQModel.load(str(task.source), wishes)
        resumption = _resuming(task) if resumable else nullcontext((None, 0))
        with mended(), _logs_aside(), resumption as (checkpoint, layers):
            log = model.quantize(
                [{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in task.samples],
                batch_size=task.batch,
                # GPTQModel 7.6.0 drops samples of fewer than 10 tokens if it is not told.
                calibration_data_min_length=1,
                checkpoint=checkpoint,
                **how,
            )
        _in_order(model.model)
        # Before anything else: in GPTQModel 7.6.0 a forward pass on a CPU repacks the weights in
        # place, and what is saved then is broken without a word.
        model.save(str(task.out))
        rename_output(task.out, task.source)
        _tidy(task)
        return {**_log_facts([row for rows in log.values() for row in rows], task),
                "resumed_layers": layers}  # fmt: skip


class GptqmodelGptq(_Gptqmodel):
    """GPTQ in the layout of AutoGPTQ."""

    version = 3
    roles: ClassVar[tuple[str, ...]] = ("model", "calibration")
    optional_roles = (SENSITIVITY,)
    Params = GptqmodelGptqParams
    EXTRA = "gptq"

    @classmethod
    def allow(cls, params: GptqmodelGptqParams, target: Target) -> None:
        """Raises RecipeError too for an output matrix that is not there, and for shapes that 3
        bits do not pack."""
        super().allow(params, target)
        for name, shape in target.quantized.items():
            rule = target.rules.get(name)
            bits = rule.bits if rule is not None and rule.bits is not None else params.bits
            if bits == 3 and any(side % _SIDE_OF_3_BITS for side in shape):
                raise RecipeError(
                    f"quantize.bits=3: {name} is {shape[0]} × {shape[1]}, and GPTQModel packs "
                    f"{_SIDE_OF_3_BITS} by {_SIDE_OF_3_BITS}; take 2, 4 or 8 bits, for this matrix "
                    f"alone by quantize.modules={{{name.split('.')[-1]}: 4}}"
                )
        if params.lm_head and OUTPUT not in target.modules:
            raise _no_output("is its embeddings, or has another name")

    @classmethod
    def allow_config(cls, params: GptqmodelGptqParams, config: Mapping[str, Any]) -> None:
        """Raises RecipeError too for an output matrix that is not the model's own."""
        super().allow_config(params, config)
        if params.lm_head and config.get("tie_word_embeddings") is True:
            raise _no_output("is its embeddings (tie_word_embeddings in config.json)")

    def make(self, params: GptqmodelGptqParams, task: Task) -> Mapping[str, Json]:
        """Resumes between layers where GPTQModel can."""
        config = {
            "quant_method": "gptq",
            "format": "gptq",
            **params.model_dump(
                include={"bits", "group_size", "desc_act", "sym", "damp_percent", "static_groups",
                         "true_sequential"}
            ),
            "act_group_aware": _act_group_aware(params.desc_act, params.group_size),
        }  # fmt: skip
        return self._quantize(config, task)


class GptqmodelAwq(_Gptqmodel):
    """AWQ in AutoAWQ's layout GEMM."""

    version = 3
    roles: ClassVar[tuple[str, ...]] = ("model", "calibration")
    Params = GptqmodelAwqParams
    EXTRA = "awq"

    @classmethod
    def allow(cls, params: GptqmodelAwqParams, target: Target) -> None:
        """Raises RecipeError too for rows that fill no words."""
        for name, (rows, _) in target.quantized.items():
            if rows % _ROWS_OF_AWQ and not _LEFT_ALONE.search(name):
                raise RecipeError(
                    f"quantize=awq: {name} has {rows} rows, and AWQ packs {_ROWS_OF_AWQ} together; "
                    f"leave it alone (quantize.modules={{{name.split('.')[-1]}: skip}}), or take "
                    "quantize=gptq"
                )
        super().allow(params, target)

    def make(self, params: GptqmodelAwqParams, task: Task) -> Mapping[str, Json]:
        """Takes torch's backend, which works everywhere."""
        from gptqmodel import BACKEND

        config = {
            "quant_method": "awq",
            "format": params.version.lower(),
            "bits": params.bits,
            "group_size": params.group_size,
            "sym": not params.zero_point,
        }
        # GPTQModel 7.6.0's own choice of a backend fails without an accelerator.
        return self._quantize(config, task, backend=BACKEND.TORCH)


def _no_output(why: str) -> RecipeError:
    return RecipeError(
        f"quantize.lm_head=true: the output matrix of this model {why}; take quantize.lm_head out, "
        "and it stays as it is"
    )


def _act_group_aware(desc_act: bool, size: int) -> bool:
    """GPTQModel's own default, but for one group a row, where 7.6.0 refuses it."""
    return not desc_act and size > 0


def _dynamic(config: Mapping[str, Any], task: Task) -> dict[str, dict[str, int]]:
    """GPTQModel's rules: ``-:`` skips; names are written out, since its first match wins."""
    rules: dict[str, dict[str, int]] = {}
    for name, rule in task.rules.items():
        # GPTQModel 7.6.0 takes the first rule that matches, qpipe the last.
        exact = fused_rules.exact(name)
        rules[f"-:{exact}" if rule.skip else f"+:{exact}"] = dict(rule.wishes)
        if rule.group_size is not None and config["quant_method"] == "gptq":
            aware = _act_group_aware(config["desc_act"], rule.group_size)
            rules[f"+:{exact}"] |= {"act_group_aware": aware}
    if OUTPUT in task.quantized:
        # GPTQModel 7.6.0 gives it 8 bits in groups of 32 without a rule of its own, whatever the
        # others have.
        own = rules.setdefault(f"+:^{OUTPUT}$", {})
        rules[f"+:^{OUTPUT}$"] = {name: config[name] for name in ("bits", "group_size")} | own
    return rules


def _resumable(config: Mapping[str, Any], task: Task) -> bool:
    """True if GPTQModel can resume: not AWQ, whose scales it writes in BF16 and seeks in FP16."""
    kind = json.loads((task.source / "config.json").read_bytes()).get("model_type")
    return (
        # AWQ cannot: GPTQModel 7.6.0 writes its scales in BF16 and seeks them in FP16.
        task.partial is not None
        and config["quant_method"] == "gptq"
        and kind in _RESUMABLE
        and not task.rules
        and OUTPUT not in task.quantized
        and config["true_sequential"]
    )


@contextmanager
def _logs_aside() -> Iterator[None]:
    """Keep its logs of modules, which go to ``logs`` in the user's current folder, out of there."""
    from gptqmodel.looper import loop_processor

    with TemporaryDirectory(prefix="qpipe-") as folder:
        # GPTQModel 7.6.0 has no setting for it.
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
    has_state = (task.partial / "CURRENT").exists()
    try:
        with CheckpointStore(checkpoint, identity_projection=lambda identity: {}) as store:
            published = store.load({})
        yield checkpoint, published["cursor"] if published else 0
    except CheckpointError as error:
        if not has_state:
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
        # GPTQModel 7.6.0 keeps them in the order in which they were made or read back.
        module._buffers = dict(sorted(module._buffers.items()))


def _tidy(task: Task) -> None:
    """Take out what differs from run to run: timings, and folders of this machine.

    Modules that AWQ left alone are named as its readers expect; GPTQModel writes GPTQ's rules, and
    nothing of those that it leaves alone by itself.
    """
    # GPTQModel 7.6.0 writes its timings beside the model.
    (task.out / "quant_log.csv").unlink(missing_ok=True)
    stored = read_tensors(task.out)
    plain = sorted(name for name in task.modules if f"{name}.weight" in stored)
    for path in (task.out / "quantize_config.json", task.out / "config.json"):
        fields = json.loads(path.read_bytes())
        quantization = fields.get("quantization_config", fields)
        # GPTQModel 7.6.0 writes where its temporary folder was.
        quantization.get("meta", {}).pop("offload_to_disk_path", None)
        if quantization.get("dynamic") and quantization["quant_method"] == "gptq":
            quantization["dynamic"] = fused_rules.fused(quantization["dynamic"], task.modules)
        if quantization["quant_method"] == "awq" and plain:
            quantization.pop("dynamic", None)
            quantization["modules_to_not_convert"] = plain
        path.write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n")


def _log_facts(rows: list[Mapping[str, str]], task: Task) -> dict[str, Json]:
    """The mean loss of all modules, and those that saw fewer tokens than there are."""
    losses = [float(row["loss"]) for row in rows if _is_number(row.get("loss"))]
    short = [
        f"layers.{row['layer']}.{row['module']}"
        for row in rows
        if _is_number(row.get("samples")) and float(row["samples"]) < task.tokens
    ]
    facts: dict[str, Json] = {"modules": len(rows), "modules_short_of_tokens": [*short]}
    if losses:
        facts["mean_loss"] = sum(losses) / len(losses)
    if short:
        facts["notes"] = [
            f"{len(short)} modules saw fewer than the {task.tokens} calibration tokens, such as "
            f"{short[0]}: give more text"
        ]
    return facts


def _is_number(text: object) -> bool:
    try:
        float(str(text))
    except ValueError:
        return False
    return True
