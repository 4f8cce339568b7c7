"""What vLLM makes of a checkpoint, as far as config.json tells: refused, or in which precision.

Sources: vLLM 0.32, model_executor/layers/quantization (methods, bits, dtypes), and
model_executor/kernels/linear (what each kernel can), for CPU ``mixed_precision/cpu.py`` and
``scaled_mm/cpu.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from qpipe.errors import CheckpointError
from qpipe.hf.quantized import CONFIG, QuantizationSettings, read_object, read_settings

FLOAT32, FLOAT16, BFLOAT16, STORED = "float32", "float16", "bfloat16", "auto"

OTHERWISE = "evaluate.backend=transformers measures it"

# vLLM 0.32's names of methods, of those that checkpoints here are in.
_METHODS = ("awq", "gptq", "compressed-tensors", "fp8", "fbgemm_fp8", "modelopt", "mxfp4",
            "quark", "torchao", "auto-round")  # fmt: skip
# vLLM 0.32 refuses float16 for these: config/model.py, ``_FLOAT16_NOT_SUPPORTED_MODELS``.
_NO_FLOAT16 = ("gemma2", "gemma3", "gemma3_text", "plamo2", "glm4")


def read(folder: Path) -> tuple[Mapping[str, Any], QuantizationSettings | None]:
    """(config.json, how its weights are quantized). Raises CheckpointError."""
    config = read_object(folder / CONFIG)
    return config, read_settings(folder, config)


def refuse(folder: Path, *, on_cpu: bool) -> None:
    """Raise CheckpointError, with the reason, for what vLLM is known not to load."""
    for why in reasons(folder, on_cpu=on_cpu):
        raise CheckpointError(f"vLLM 0.32 does not load this checkpoint: {why}; {OTHERWISE}")


def reasons(folder: Path, *, on_cpu: bool) -> list[str]:
    """Return why vLLM is known not to load a checkpoint. Raises CheckpointError for a config.json
    that cannot be read."""
    config, settings = read(folder)
    if settings is None:
        return []
    return [*_anywhere(settings), *(_on_cpu(settings, config) if on_cpu else ())]


def dtype(folder: Path, *, on_cpu: bool) -> str:
    """The precision that vLLM computes in: on a GPU as it serves, what the checkpoint says; on a
    CPU float32, or float16 where its kernel for the weights knows no float32."""
    config, settings = read(folder)
    if not on_cpu:
        return STORED
    if settings is None or not _packed(settings):
        return FLOAT32
    return BFLOAT16 if config.get("model_type") in _NO_FLOAT16 else FLOAT16


def _packed(settings: QuantizationSettings) -> bool:
    """True for weights whose kernel on a CPU computes in half precision alone."""
    return settings.method != "compressed-tensors" or any(
        weights.get("num_bits") == 4 or weights.get("type") == "float"
        for weights, _ in _groups(settings.fields)
    )


def _anywhere(settings: QuantizationSettings) -> Iterator[str]:
    fields, method = settings.fields, settings.method
    if method not in _METHODS:
        yield f"it has no method {method or 'of that kind'}"
    elif settings.for_transformers is not None and settings.path.name == CONFIG:
        yield f"config.json says how in {settings.where}, where vLLM does not look"
    elif method == "gptq" and (fields.get("bits"), fields.get("sym")) not in ((4, True), (8, True)):
        yield (
            f"of GPTQ it has kernels for 4 and 8 bits without zero points (quantize.sym=true), and "
            f"this has {fields.get('bits')} bits, sym={str(fields.get('sym')).lower()}"
        )
    elif method == "gptq" and fields.get("desc_act") and fields.get("group_size") != -1:
        yield (
            "it knows no groups in the order of activations (desc_act) any more; make it with "
            "quantize.desc_act=false"
        )
    elif method == "awq" and fields.get("bits") != 4:
        yield f"of AWQ it has kernels for 4 bits, and this has {fields.get('bits')}"
    elif method == "awq" and str(fields.get("version", "gemm")).lower() not in ("gemm", "marlin"):
        yield f"of AWQ it reads version GEMM, and this is {str(fields['version']).upper()}"
    elif method == "torchao":
        yield "it reads torchao's by the package torchao, which its environment has not"


def _on_cpu(settings: QuantizationSettings, config: Mapping[str, Any]) -> Iterator[str]:
    fields, method = settings.fields, settings.method
    if method == "gptq" and fields.get("bits") != 4:
        yield f"on a CPU it has a kernel for 4 bits alone, and this has {fields.get('bits')}"
    if method in ("modelopt", "mxfp4", "quark", "fbgemm_fp8"):
        yield f"on a CPU it has no kernel for {method}"
    for weights, activations in _groups(fields) if method == "compressed-tensors" else ():
        bits, kind = weights.get("num_bits"), weights.get("type")
        if kind == "int" and activations is None and bits != 4:
            yield f"on a CPU it has a kernel for weights of 4 bits alone, and this has {bits}"
        if kind == "int" and activations is not None and bits != 8:
            yield f"on a CPU it has no kernel for weights of {bits} bits and such activations"
        if kind == "float" and bits == 4:
            yield "on a CPU it has no kernel for floats of 4 bits"
        if kind == "float" and bits == 8 and "uint8" in str(weights.get("scale_dtype")):
            yield "on a CPU it has no kernel for MXFP8"
        if kind == "float" and weights.get("strategy") == "block" and not has_amx():
            yield "on a CPU its kernel for blocks of FP8 wants AMX, which this one has not"
        if kind == "float" and bits == 8 and activations and not activations.get("dynamic"):
            # vLLM 0.32: `_C::static_scaled_fp8_quant` is declared and takes nothing.
            yield (
                "on a CPU it rounds no activations to FP8 by a scale set before; make it with "
                "quantize.scheme=dynamic"
            )
    if method == "fp8" and fields.get("weight_block_size") and not has_amx():
        yield "on a CPU its kernel for blocks of FP8 wants AMX, which this one has not"
    if method in ("awq", "gptq") or _packed(settings):
        for name in ("hidden_size", "intermediate_size"):
            if isinstance(size := config.get(name), int) and size % 32:
                yield f"on a CPU its kernel wants sizes that 32 divides, and {name} is {size}"


def has_amx(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether the processor multiplies tiles (Intel's AMX)."""
    return cpuinfo.is_file() and "amx_tile" in cpuinfo.read_text()


def _groups(fields: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], Any]]:
    """(settings of weights, of activations or None) of each group of modules."""
    groups = fields.get("config_groups")
    listed = list(groups.values()) if isinstance(groups, dict) else []
    return [
        (group["weights"], group.get("input_activations"))
        for group in listed
        if isinstance(group, dict) and isinstance(group.get("weights"), dict)
    ]


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of config.json that is of text. Raises CheckpointError where sizes are missing."""
    inside = config.get("text_config")
    text: Mapping[str, Any] = inside if isinstance(inside, dict) else config
    needed = ("vocab_size", "num_hidden_layers", "num_attention_heads", "hidden_size")
    for name in needed:
        if not isinstance(text.get(name), int):
            raise CheckpointError(f"config.json: {name} is missing; {OTHERWISE}")
    return text
