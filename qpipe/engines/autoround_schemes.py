"""AutoRound: FP8, NVFP4, MXFP4 and MXFP8 with learned rounding, in compressed-tensors for vLLM."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, cast

from pydantic import BaseModel, Field, model_validator

from qpipe.core.key import Json
from qpipe.engines import _autoround, _presets
from qpipe.engines.autoround import Autoround
from qpipe.engines.common.checkpoint_engine import CheckpointEngine, Target, Task
from qpipe.engines.common.checkpoint_files import OUTPUT
from qpipe.engines.common.output_check import ROUTER, share
from qpipe.engines.common.schemes import (
    Fp8Params,
    LearnableParams,
    Mxfp4Params,
    Mxfp8Params,
    Nvfp4Params,
)
from qpipe.errors import RecipeError
from qpipe.results.model import ModelFacts

# Where auto-round 0.15.1 names its schemes.
_TABLE = "auto_round/schemes.py"
_FORMAT = "llm_compressor"


class LearningParams(BaseModel):
    """The settings of learning, in place of the method's own that say there is none."""

    RULES: ClassVar[tuple[str, ...]] = ("skip",)

    iters: int = Field(
        200,
        ge=0,
        description=(
            "Steps of learning for each layer, 32 or more to be of use; 0: round to the nearest."
        ),
    )
    batch_size: int = Field(8, ge=1, description="Samples of a step.")
    seed: int = Field(42, description="Chooses the samples of each step.")

    @property
    def is_calibrated(self) -> bool:
        """Always: it learns from the text."""
        return True

    @model_validator(mode="after")
    def _is_written(self) -> LearningParams:
        _refuse_unwritten(cast("LearnableParams", self))
        return self


class AutoroundFp8Params(LearningParams, Fp8Params):
    """FP8 by block, or with ranges from the text."""

    WRITES: ClassVar[Mapping[str, str]] = {"block": "FP8_BLOCK", "static": "FP8_STATIC"}

    engine: Literal["auto-round"] = "auto-round"
    scheme: Literal["dynamic", "block", "static"] = Field(
        "block",
        description=(
            "block: a scale for 128 × 128 weights, and for 128 activations of a token; "
            "static: for each row, and for all inputs of a matrix, from the calibration text."
        ),
    )


class AutoroundNvfp4Params(LearningParams, Nvfp4Params):
    """NVFP4 of weights and activations."""

    WRITES: ClassVar[Mapping[str, str]] = {"w4a4": "NVFP4"}

    engine: Literal["auto-round"] = "auto-round"
    scheme: Literal["w4a16", "w4a4"] = Field(
        "w4a4",
        description=(
            "w4a4: activations too, with one scale for all inputs of a matrix from the "
            "calibration text, and one for 16 as they come."
        ),
    )


class AutoroundMxfp4Params(LearningParams, Mxfp4Params):
    """MXFP4 of weights and activations."""

    WRITES: ClassVar[Mapping[str, str]] = {"w4a4": "MXFP4"}

    engine: Literal["auto-round"] = "auto-round"
    scheme: Literal["w4a16", "w4a4"] = Field(
        "w4a4",
        description=("w4a4: activations too, rounded as they come."),
    )


class AutoroundMxfp8Params(LearningParams, Mxfp8Params):
    """MXFP8 of weights and activations."""

    WRITES: ClassVar[Mapping[str, str]] = {"w8a8": "MXFP8"}

    engine: Literal["auto-round"] = "auto-round"
    scheme: Literal["w8a16", "w8a8"] = Field(
        "w8a8",
        description=("w8a8: activations too, rounded as they come."),
    )


class _AutoroundScheme(CheckpointEngine):
    """Common base of all methods."""

    roles: ClassVar[tuple[str, ...]] = ("model", "calibration")
    REFUSES = Autoround.REFUSES
    PACKAGES = ("auto-round", "compressed-tensors", "torch", "transformers")
    EXTRA = "autoround"

    @classmethod
    def allow_config(cls, params: LearnableParams, config: Mapping[str, Any]) -> None:
        """Raises EngineMissingError too, for a scheme that the installed version does not know."""
        _presets.require(params.WRITES[params.scheme], "auto-round", _TABLE, extra=cls.EXTRA)
        super().allow_config(params, config)

    @classmethod
    def allow(cls, params: LearnableParams, target: Target) -> None:
        """Raises RecipeError for rows that scales do not fill, sides that 32 does not divide, and
        experts; CheckpointError for matrices that are no floats."""
        from qpipe.packed import source, weight_checks

        super().allow(params, target)
        _refuse_experts(params, target)
        # auto-round 0.15.1 leaves matrices with a side that 32 does not divide as they are, and
        # fails at rows that do not fill a block.
        multiple = max(32, params.MULTIPLE[params.scheme])
        for name, shape in _wanted(target).items():
            if any(side % multiple for side in shape):
                raise RecipeError(
                    f"quantize={params.method} quantize.scheme={params.scheme}: {name} is "
                    f"{' x '.join(map(str, shape))}, and auto-round takes sides that {multiple} "
                    "divides; set quantize.engine=llmcompressor, or leave it alone: "
                    f"quantize.modules={{{name.split('.')[-1]}: skip}}"
                )
        tensors = source.opened(target.source).tensors
        weight_checks.refuse_integers(tensors[f"{name}.weight"] for name in _wanted(target))
        # auto-round 0.15.1 computes these schemes in bfloat16, and writes all else so too.
        other = next((t for t in tensors.values() if t.dtype in ("F16", "F32")), None)
        if other is not None:
            raise RecipeError(
                f"model.source: {other.name} is {other.dtype}, and auto-round would round what it "
                "leaves alone to BF16; set quantize.engine=llmcompressor, or make the checkpoint "
                "bfloat16 first (quantize=none quantize.dtype=bf16), and take that"
            )

    def make(self, params: LearnableParams, task: Task) -> Mapping[str, Json]:
        """Raises CheckpointError for weights that are no numbers, before anything is quantized."""
        from qpipe.packed import restore, source, weight_checks

        wanted, tensors = _wanted(task), source.opened(task.source).tensors
        weight_checks.refuse_unscalable(tensors[f"{name}.weight"] for name in wanted)
        left = [name for name in task.modules if name not in wanted]
        _autoround.quantize(
            params,
            task,
            task.out,
            scheme=params.WRITES[params.scheme],
            layers={name: {"bits": 16, "act_bits": 16} for name in left},
            packing=_FORMAT,
        )
        _autoround.move_up(task.out, task.out)
        # auto-round 0.15.1 may write a file a layer.
        restore.restore(task.out, task.source)
        (task.out / "quantization_config.json").unlink()
        _name_left(task, sorted({OUTPUT, *left}))
        return {}

    def facts(self, params: LearnableParams, task: Task) -> ModelFacts:
        """Facts of the checkpoint that came out; raises CheckpointError also for a scale that is no
        positive number."""
        from qpipe.packed import weight_checks

        weight_checks.refuse_scales(task.out)
        return super().facts(params, task)


class AutoroundFp8(_AutoroundScheme):
    """FP8 by block, or with ranges of activations from a text."""

    version = 1
    Params = AutoroundFp8Params


class AutoroundNvfp4(_AutoroundScheme):
    """NVFP4 of weights and activations."""

    version = 1
    Params = AutoroundNvfp4Params


class AutoroundMxfp4(_AutoroundScheme):
    """MXFP4 of weights and activations."""

    version = 1
    Params = AutoroundMxfp4Params


class AutoroundMxfp8(_AutoroundScheme):
    """MXFP8 of weights and activations."""

    version = 1
    Params = AutoroundMxfp8Params


def _refuse_unwritten(params: LearnableParams) -> None:
    # auto-round 0.15.1 has FP8 by token in no scheme, and writes what is packed of weights alone
    # (act_bits=16) with a config.json that says activations are rounded too.
    if params.scheme not in params.WRITES:
        raise ValueError(
            f"quantize.scheme={params.scheme}: auto-round 0.15 writes {params.method} as "
            f"{' or '.join(params.WRITES)} alone; set quantize.scheme={next(iter(params.WRITES))}, "
            "or quantize.engine=llmcompressor"
        )
    if params.kv_cache is not None:
        raise ValueError(
            f"quantize.kv_cache={params.kv_cache}: engine auto-round leaves keys and values as "
            "they come; take it out, or set quantize.engine=llmcompressor"
        )


def _wanted(target: Target) -> dict[str, tuple[int, int]]:
    """The modules that are quantized, which routers are not."""
    return {n: shape for n, shape in target.quantized.items() if not ROUTER.search(n)}


def _refuse_experts(params: LearnableParams, target: Target) -> None:
    experts = [name for name in target.quantized if ".experts." in name]
    if experts:
        raise RecipeError(
            f"quantize={params.method}: {share(experts, target.quantized, '')} are experts, which "
            "engine auto-round does not take here; set quantize.engine=llmcompressor, or say that "
            "they stay: "
            "quantize.modules={experts: skip}"
        )


def _name_left(task: Task, left: list[str]) -> None:
    """auto-round 0.15.1 leaves the list empty with FP8_STATIC, and transformers then looks for the
    scale of a tied output matrix."""
    path = task.out / "config.json"
    config = json.loads(path.read_bytes())
    config["quantization_config"]["ignore"] = left
    path.write_text(json.dumps(config))
