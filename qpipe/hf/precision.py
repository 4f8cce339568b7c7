"""What a quantized checkpoint is computed in: float32 where its format can be, on every device.

Elsewhere figures differ from the float32 reference's by the rounding of activations too: each
measurement says what it was (`qpipe.results.arithmetic`), and reports mark such differences.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qpipe.errors import RecipeError
from qpipe.hf.quantized import QuantizationSettings

FLOAT32, BFLOAT16, STORED = "float32", "bfloat16", "auto"
_IN_FLOAT32 = {"Int8WeightOnlyConfig", "Int8DynamicActivationInt8WeightConfig"}


def plain(settings: QuantizationSettings) -> str:
    """One of the names above; STORED is that of the checkpoint's other weights."""
    if settings.method == "compressed-tensors" and any(map(_is_micro, _groups(settings.fields))):
        # compressed-tensors 0.19 gives bfloat16 out of four bits and out of scales that are powers
        # of two, whatever the model is in: "expected m1 and m2 to have the same dtype".
        return BFLOAT16
    if settings.method == "torchao" and not {*_kinds(settings.fields)} <= _IN_FLOAT32:
        # All other tensors of torchao 0.18 have a precision of their own, in which they multiply.
        return STORED
    return FLOAT32


def refuse(settings: QuantizationSettings, dtype: str) -> None:
    """Raise RecipeError for a precision that the format cannot be computed in."""
    able = plain(settings)
    if dtype == "auto" or able == FLOAT32 or (able == BFLOAT16 == dtype):
        return
    if able == STORED and dtype != FLOAT32:
        return  # that of the checkpoint's other weights may be the one
    raise RecipeError(
        f"evaluate.dtype={dtype}: this checkpoint ({settings.words}) cannot be computed so, "
        f"but in {'its own precision' if able == STORED else able}; evaluate.dtype=bfloat16 "
        "measures all of a table alike, evaluate.dtype=auto marks what is not"
    )


def widen(model: Any) -> None:
    """Give what is not packed the precision of the rest, float32.

    transformers (5.17) passes the precision that was asked for over where a quantizer is at work
    and it renames the tensor while loading: GPT-NeoX's output matrix, Mixtral's experts.
    """
    import torch

    for module in model.modules():
        if not type(module).__module__.startswith(("torch.nn.", "transformers.models.")):
            continue  # a packed one, in whose precision its kernel computes
        for parameter in module.parameters(recurse=False):
            plain = type(parameter.data) is torch.Tensor
            if plain and parameter.dtype in (torch.bfloat16, torch.float16):
                parameter.data = parameter.data.float()


def auto_round_in_float32() -> None:
    """Keep auto-round 0.15.1 from casting a whole model to float16 on a CPU.

    Of its kernels in torch it says that they compute in float16 alone; they multiply in whatever
    the activations are (auto_round_extension/torch/qlinear_torch.py, ``forward``).
    """
    from auto_round.inference.backend import BackendInfos

    for name, info in BackendInfos.items():
        if name.startswith("auto_round:torch") and FLOAT32 not in info.compute_dtype:
            info.compute_dtype = [*info.compute_dtype, FLOAT32]


def _groups(fields: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Settings of the weights of each group of modules."""
    groups = fields.get("config_groups")
    listed = list(groups.values()) if isinstance(groups, dict) else []
    weights = [group.get("weights") for group in listed if isinstance(group, dict)]
    return [group_weights for group_weights in weights if isinstance(group_weights, dict)]


def _is_micro(weights: Mapping[str, Any]) -> bool:
    powers = "uint8" in str(weights.get("scale_dtype"))
    return weights.get("type") == "float" and (weights.get("num_bits") == 4 or powers)


def _kinds(fields: Mapping[str, Any]) -> list[str]:
    """The names of torchao's configs, one or one for each kind of module."""
    inside = fields.get("quant_type")
    default = inside.get("default") if isinstance(inside, dict) else None
    if not isinstance(default, dict):
        return []
    data = default.get("_data")
    own = data.get("fqn_to_config") if isinstance(data, dict) else None
    listed = own.values() if isinstance(own, dict) else [default]
    return [str(each.get("_type")) for each in listed if isinstance(each, dict)]
