"""What multiplies a model's packed weights: which kernel, in which precision, how one is chosen.

A kernel may round activations to another precision than the model is in; that it is named lets
figures be compared with those of the plain model only where both are in the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MethodType
from typing import Any, Literal, TypeAlias

from qpipe.errors import RecipeError
from qpipe.hf.quantized import QuantizationSettings

Kernel: TypeAlias = Literal["auto", "torch", "triton", "exllamav2", "marlin", "machete"]
PLAIN = "torch"

# By method, what transformers 5.17 calls gptqmodel's and auto-round's kernels.
_NAMES: Mapping[str, Mapping[str, str]] = {
    "gptq": {
        "torch": "gptq_torch", "triton": "gptq_triton", "exllamav2": "gptq_exllama_v2",
        "marlin": "gptq_marlin", "machete": "gptq_machete",
    },
    "awq": {
        "torch": "torch_awq", "triton": "gemm_triton", "exllamav2": "exllama_v2",
        "marlin": "marlin", "machete": "machete",
    },
    "auto-round": {"torch": "torch", "triton": "tritonv2", "exllamav2": "exllamav2",
                   "marlin": "marlin"},
}  # fmt: skip
_PACKAGES = ("auto_round", "auto_round_extension", "bitsandbytes", "gptqmodel")
_OF_TRANSFORMERS = ("FP8Linear", "FP8Expert", "FbgemmFp8Linear", "Mxfp4GptOssExperts")
# Of gptqmodel 7.6.0: computes in float16 whatever it is given in float32 (torch_awq.py, forward).
_AWQ = "AwqTorchLinear"


def option(settings: QuantizationSettings, device: str, kernel: str) -> dict[str, Any]:
    """Return the option of ``from_pretrained`` that chooses a kernel; none where nothing is to be
    chosen, as on a CPU for what has but one.

    Of GPTQ and AWQ in 4 bits gptqmodel (7.6.0) would choose its fused kernel on a CPU, which rounds
    to bfloat16, and on a GPU Marlin or Machete, which are compiled at the first load. Raises
    RecipeError for a kernel that the method has not.
    """
    method, fields = settings.method or "", settings.fields
    names = _NAMES.get(method)
    if names is None:
        if kernel not in ("auto", PLAIN):
            raise RecipeError(
                f"evaluate.kernel={kernel}: is for GPTQ, AWQ and AutoRound, and this checkpoint is "
                f"{settings.words}; leave it out"
            )
        return {}
    of_4_bits = fields.get("bits", fields.get("w_bit")) == 4
    if device == "cpu" and (method == "auto-round" or not of_4_bits):
        return {}
    chosen = PLAIN if kernel == "auto" else kernel
    if chosen not in names:
        raise RecipeError(
            f"evaluate.kernel={kernel}: there is none for {method}; {', '.join(names)} are"
        )
    return {"quantization_config": _config(method, fields, names[chosen])}


def _config(method: str, fields: Mapping[str, Any], name: str) -> Any:
    """Settings of which transformers (5.17) takes the kernel alone, the rest being the
    checkpoint's."""
    from transformers import AutoRoundConfig, AwqConfig, GPTQConfig

    if method == "awq":
        return AwqConfig(backend=name)  # type: ignore[arg-type]
    if method == "gptq":
        return GPTQConfig(bits=fields.get("bits", 4), backend=name)
    return AutoRoundConfig(backend=name)


def used(model: Any) -> tuple[str | None, str | None]:
    """Return the kernels that multiply packed weights, and the precision of those that compute in
    another than the model's: None where there is none."""
    names: dict[str, None] = {}
    precisions: dict[str, None] = {}
    for module in model.modules():
        if (name := _packed(module)) is not None:
            names[name] = None
            if (own := _precision(module)) is not None:
                precisions[own] = None
    precisions.pop(str(model.dtype).removeprefix("torch."), None)
    return " ".join(sorted(names)) or None, " ".join(sorted(precisions)) or None


def _packed(module: Any) -> str | None:
    kind = type(module)
    package = kind.__module__.partition(".")[0]
    if package in _PACKAGES and (hasattr(module, "qweight") or hasattr(module, "weight")):
        return kind.__name__
    if kind.__name__ in _OF_TRANSFORMERS:
        return kind.__name__
    weight = module._parameters.get("weight")
    of_weight = type(getattr(weight, "data", weight))
    return of_weight.__name__ if of_weight.__module__.startswith("torchao.") else None


def _precision(module: Any) -> str | None:
    if type(module).__name__ == _AWQ:
        return getattr(module, "qpipe_precision", "float16")
    own = getattr(module, "compute_dtype", None)  # bitsandbytes' four bits
    return None if own is None else str(own).removeprefix("torch.")


def compute_in(model: Any, precision: str) -> None:
    """Have packed weights multiplied in the precision of the rest of the model.

    bitsandbytes (0.50.2) rounds activations to the ``compute_dtype`` that the checkpoint asks for,
    bfloat16 mostly, and gptqmodel's AWQ (7.6.0) to float16 where they are in float32.
    """
    import torch

    for module in model.modules():
        if type(module).__name__ == "Linear4bit":
            module.compute_dtype = getattr(torch, precision)
        elif type(module).__name__ == _AWQ:
            module.qpipe_precision = precision
            if precision == "float32":
                module.forward = MethodType(_awq_in_float32, module)


def _awq_in_float32(module: Any, x: Any) -> Any:
    """AwqTorchLinear.forward of gptqmodel 7.6.0 without its roundings."""
    import torch
    from gptqmodel.quantization.awq.utils.packing_utils import dequantize_gemm

    scales = module.scales.float()
    weight = dequantize_gemm(
        qweight=module.qweight,
        qzeros=module.qzeros,
        scales=scales,
        bits=module.bits,
        group_size=module.group_size,
    )
    out = torch.matmul(x.reshape(-1, x.shape[-1]).float(), weight)
    if module.bias is not None:
        out = out + module.bias.float()
    return out.to(x.dtype).reshape(*x.shape[:-1], module.out_features)
