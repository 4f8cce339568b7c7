"""llm-compressor: FP8, NVFP4, MXFP4, MXFP8 and W4AFP8, in vLLM's own format.

What needs no text goes through files a module at a time, without the model (`_model_free`); ranges
of activations, keys and values are taken while the model computes on the calibration text.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from qpipe.core.graph import Resources
from qpipe.core.key import Json
from qpipe.engines import _model_free, _presets
from qpipe.engines.common.checkpoint_engine import Target, Task
from qpipe.engines.common.checkpoint_files import OUTPUT
from qpipe.engines.common.output_check import ROUTER, share
from qpipe.engines.common.schemes import (
    Fp8Params,
    Mxfp4Params,
    Mxfp8Params,
    Nvfp4Params,
    SchemeParams,
    W4afp8Params,
)
from qpipe.engines.llmcompressor import _Llmcompressor
from qpipe.errors import RecipeError
from qpipe.results.model import ModelFacts
from qpipe.stages import base
from qpipe.stages.device import CUDA

if TYPE_CHECKING:
    from qpipe.gguf.safetensors import StoredTensor

# Where compressed-tensors 0.19 names its schemes.
_TABLE = "compressed_tensors/quantization/quant_scheme.py"
# compressed-tensors 0.19 would write a byte for each of W4AFP8's four bits; vLLM reads these words.
_FORMATS = {"W4AFP8": "pack-quantized"}


class LlmcompressorFp8Params(Fp8Params):
    """Modules can be left alone."""

    RULES = ("skip",)

    engine: Literal["llmcompressor"] = "llmcompressor"


class LlmcompressorNvfp4Params(Nvfp4Params):
    """Modules can be left alone."""

    RULES = ("skip",)

    engine: Literal["llmcompressor"] = "llmcompressor"


class LlmcompressorMxfp4Params(Mxfp4Params):
    """Modules can be left alone."""

    RULES = ("skip",)

    engine: Literal["llmcompressor"] = "llmcompressor"


class LlmcompressorMxfp8Params(Mxfp8Params):
    """Modules can be left alone."""

    RULES = ("skip",)

    engine: Literal["llmcompressor"] = "llmcompressor"


class LlmcompressorW4afp8Params(W4afp8Params):
    """Modules can be left alone."""

    RULES = ("skip",)

    engine: Literal["llmcompressor"] = "llmcompressor"


class _LlmcompressorScheme(_Llmcompressor):
    """Common base of all methods."""

    optional_roles: ClassVar[tuple[str, ...]] = ("calibration",)
    EXTRA = "int8"

    @classmethod
    def resources(cls, params: SchemeParams, *, cores: int) -> Resources:
        """Without calibration torch, a file that is written and the largest module; else as all."""
        resources = super().resources(params, cores=cores)
        if params.is_calibrated:
            return resources
        return replace(resources, memory=4 << 30, memory_per_input_byte=0.1)

    @classmethod
    def refuse(cls, params: SchemeParams, order: base.Order) -> None:
        """Raises RecipeError also for a calibration that is missing, or that nothing looks at."""
        calibrated = "calibration" in {*order.inputs, *order.coming}
        if calibrated != params.is_calibrated:
            raise RecipeError(_miswired(params, calibrated=calibrated))
        super().refuse(params, order)

    @classmethod
    def allow_config(cls, params: SchemeParams, config: Mapping[str, Any]) -> None:
        """Raises EngineMissingError too, for a scheme that the installed version does not know."""
        _presets.require(params.preset, "compressed-tensors", _TABLE, extra=cls.EXTRA)
        super().allow_config(params, config)

    @classmethod
    def allow(cls, params: SchemeParams, target: Target) -> None:
        """Raises RecipeError for rows that groups and blocks do not fill, CheckpointError for
        matrices that are no floats."""
        super().allow(params, target)
        multiple = params.MULTIPLE[params.scheme]
        for name, (_, columns) in target.quantized.items():
            if columns % multiple and not ROUTER.search(name):
                raise RecipeError(
                    f"quantize={params.method} quantize.scheme={params.scheme}: rows of {name} "
                    f"have {columns} weights, and each {multiple} share a scale; choose another "
                    "method or scheme (quantize=fp8 fits all rows), or leave it alone: "
                    f"quantize.modules={{{name.split('.')[-1]}: skip}}"
                )
        _refuse_experts(params, target)
        from qpipe.packed import weight_checks

        weight_checks.refuse_integers(_wanted(target).values())

    def make(self, params: SchemeParams, task: Task) -> Mapping[str, Json]:
        """Raises CheckpointError for weights that are no numbers, before anything is quantized."""
        from qpipe.packed import weight_checks

        wanted = _wanted(task)
        weight_checks.refuse_unscalable(wanted.values())
        if params.is_calibrated:
            return self._calibrated(params, task, wanted)
        return self._without_model(params, task, wanted)

    def _without_model(
        self, params: SchemeParams, task: Task, wanted: Mapping[str, StoredTensor]
    ) -> Mapping[str, Json]:
        import torch
        from compressed_tensors.quantization import QuantizationConfig
        from llmcompressor.entrypoints.model_free.validate import validate_config

        from qpipe.gguf.checkpoint import read_tensors

        torch.set_num_threads(task.threads)
        tensors = read_tensors(task.source)
        left = [
            name.removesuffix(".weight")
            for name, tensor in tensors.items()
            if name.endswith(".weight")
            and len(tensor.shape) == 2
            and name.removesuffix(".weight") not in wanted
        ]
        # Of tied embeddings it is no tensor, and transformers 5.17 looks for its scale.
        left = sorted({OUTPUT, *left})
        config = QuantizationConfig(config_groups={"group_0": _scheme(params)}, ignore=left)
        shutil.copyfile(task.source / "config.json", task.out / "config.json")
        _model_free.quantize(
            tensors,
            [*wanted],
            validate_config(config, None, ()),
            task.out,
            device="cuda:0" if params.computes_on == CUDA else "cpu",
        )
        return {}

    def _calibrated(
        self, params: SchemeParams, task: Task, wanted: Mapping[str, StoredTensor]
    ) -> Mapping[str, Json]:
        from llmcompressor.modifiers.quantization import QuantizationModifier

        left = [name for name in task.modules if name not in wanted]
        modifier = QuantizationModifier(
            config_groups={"group_0": _scheme(params)},
            # llm-compressor 0.14 quantizes the output matrix too if it is not told.
            ignore=[OUTPUT, *left],
            kv_cache_scheme=_CACHES[params.kv_cache] if params.kv_cache else None,
        )
        return self._oneshot(modifier, task)

    def facts(self, params: SchemeParams, task: Task) -> ModelFacts:
        """Facts of the checkpoint that came out; raises CheckpointError also for a scale that is no
        positive number."""
        from qpipe.packed import scales, structure, weight_checks

        scales.check(structure.read(task.out))
        weight_checks.refuse_scales(task.out)
        return super().facts(params, task)


class LlmcompressorFp8(_LlmcompressorScheme):
    """FP8 by token, by block, or with scales from a text."""

    version = 1
    Params = LlmcompressorFp8Params


class LlmcompressorNvfp4(_LlmcompressorScheme):
    """NVFP4, of weights alone or of activations too."""

    version = 1
    Params = LlmcompressorNvfp4Params


class LlmcompressorMxfp4(_LlmcompressorScheme):
    """MXFP4, of weights alone or of activations too."""

    version = 1
    Params = LlmcompressorMxfp4Params


class LlmcompressorMxfp8(_LlmcompressorScheme):
    """MXFP8, of weights alone or of activations too."""

    version = 1
    Params = LlmcompressorMxfp8Params


class LlmcompressorW4afp8(_LlmcompressorScheme):
    """Four bits for weights, FP8 for activations."""

    version = 1
    Params = LlmcompressorW4afp8Params


# Whose experts transformers 5.17 reads.
_READ_EXPERTS = (("fp8", "dynamic"), ("mxfp4", "w4a16"), ("mxfp4", "w4a4"), ("w4afp8", "dynamic"))
_CACHE = {"num_bits": 8, "type": "float", "symmetric": True, "dynamic": False}
_CACHES: Mapping[str, Mapping[str, Any]] = {
    "fp8": {**_CACHE, "strategy": "tensor"},
    "fp8_head": {**_CACHE, "strategy": "attn_head"},
}


def _scheme(params: SchemeParams) -> Any:
    """compressed-tensors' own."""
    from compressed_tensors.quantization import preset_name_to_scheme

    scheme = preset_name_to_scheme(params.preset, ["Linear"])
    return scheme.model_copy(update={"format": _FORMATS.get(params.preset)})


def _wanted(target: Target) -> dict[str, StoredTensor]:
    """The tensor of each module that is quantized, which routers are not."""
    from qpipe.packed import source

    tensors = source.opened(target.source).tensors
    names = [name for name in target.quantized if not ROUTER.search(name)]
    return {name: tensors[f"{name}.weight"] for name in names}


def _refuse_experts(params: SchemeParams, target: Target) -> None:
    """Raise RecipeError for experts that transformers cannot read back.

    transformers 5.17 (integrations/compressed_tensors.py, DecompressExperts) multiplies bytes by
    scales of one shape with them, or that of a row, and looks for no scale of a whole matrix or of
    inputs.
    """
    experts = [name for name in target.quantized if ".experts." in name]
    if experts and (params.method, params.scheme) not in _READ_EXPERTS:
        raise RecipeError(
            f"quantize={params.method} quantize.scheme={params.scheme}: transformers 5.17 cannot "
            f"read back {share(experts, target.quantized, '')} which are experts; use quantize=fp8 "
            "(quantize.scheme=dynamic), quantize=mxfp4 or quantize=w4afp8, or say that they stay: "
            "quantize.modules={experts: skip}"
        )


def _miswired(params: SchemeParams, *, calibrated: bool) -> str:
    said = f"quantize={params.method} quantize.scheme={params.scheme}"
    if calibrated:
        return (
            f"stages.quantize.needs.calibration: {said} looks at no text; take it out, or set "
            "quantize.kv_cache=fp8"
        )
    cache = f" quantize.kv_cache={params.kv_cache}" if params.kv_cache else ""
    return (
        f"stages.quantize.needs.calibration: {said}{cache} takes ranges from a calibration text; "
        "name the stage calibrate there"
    )
