"""A checkpoint folder, or a GGUF file, as a transformers model in this process."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qpipe.errors import CheckpointError, EngineMissingError, RecipeError, reason
from qpipe.hf import gptqmodel, kernels, missing_weights, precision, schemes
from qpipe.hf.device import gpu_name, require
from qpipe.hf.implementations import wants_package
from qpipe.hf.quantized import CONFIG, QuantizationSettings, read_object, read_settings
from qpipe.support import extras

# The extra of qpipe that brings what reads a quantization method's checkpoints.
_EXTRAS = {
    "gptq": "gptq",
    "awq": "awq",
    "bitsandbytes": "bnb",
    "torchao": "int8",
    "compressed-tensors": "int8",
    "auto-round": "autoround",
}

AUTO = "auto"

# What transformers 5.17 quantizes to while it loads, and has no way to save or load (hqq 0.2.8,
# optimum-quanto 0.2.7): it finds none of the weights, and goes on with random ones.
_MADE_ALONE = ("hqq", "quanto")
# What transformers 5.17 and the readers of quantized checkpoints raise for a checkpoint that is
# damaged or odd: the config's values reach their arithmetic unchecked.
_FOREIGN = (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RuntimeError)


@dataclass(frozen=True)
class LoadedModel:
    """``model`` is a transformers model in evaluation mode on ``device``, computing in ``dtype``.

    ``method`` is how its weights are quantized, None for a plain one. ``kernel`` is what multiplies
    packed ones, ``kernel_dtype`` the precision in which it does, where that is another.
    """

    model: Any
    method: str | None
    dtype: str
    device: str
    kernel: str | None = None
    kernel_dtype: str | None = None

    @property
    def arithmetic(self) -> dict[str, str]:
        """Precision and device of what is computed, as `qpipe.results.arithmetic` reads them."""
        fields = {
            "device": self.device,
            "precision": self.dtype,
            "kernel": self.kernel,
            "kernel_precision": self.kernel_dtype,
            "gpu": gpu_name() if self.device == "cuda" else None,
        }
        return {name: value for name, value in fields.items() if value is not None}


def quantization(folder: Path) -> str | None:
    """The method of a checkpoint's quantization, in the word of the tool that did it; None if its
    weights are not quantized.

    Raises CheckpointError if there is no readable config.json.
    """
    settings = read_settings(folder, _config(folder))
    return None if settings is None else settings.method or "unnamed"


def _config(folder: Path) -> dict[str, Any]:
    return read_object(folder / CONFIG)


def load(
    folder: Path,
    *,
    gguf_file: str | None = None,
    device: str = "cpu",
    dtype: str = "auto",
    kernel: str = "auto",
) -> LoadedModel:
    """Load the checkpoint in ``folder``, or dequantize the GGUF file of that name in it, onto
    ``device``: cpu or cuda.

    ``dtype`` is the precision of all arithmetic. auto: float32, but for formats that cannot be
    (`qpipe.hf.precision`).
    Raises EngineMissingError if what reads this quantization, or this scheme of it, is not
    installed, RecipeError for a precision or ``kernel`` (`qpipe.hf.kernels`) that it cannot have,
    CheckpointError for weights that are missing, of another shape or left over, or that
    transformers cannot load.
    """
    from safetensors import SafetensorError
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    settings = None if gguf_file is not None else read_settings(folder, _config(folder))
    method = None if settings is None else settings.method or "unnamed"
    require(device)
    if settings is not None:
        _refuse_unknown(folder, settings)
        schemes.refuse_unknown(folder, settings)
    try:
        if settings is not None and gptqmodel.needs_gptqmodel(folder, settings):
            half = dtype if dtype != AUTO else precision.FLOAT32
            model = gptqmodel.load(folder, device=device, dtype=half, kernel=kernel)
            info = dict[str, Any]()
        else:
            config = {"gguf_file": gguf_file} if gguf_file else _own_config(folder, settings)
            options = {**config, **_options(settings, device, dtype, kernel)}
            model, info = _read(folder, device, options)
    except ImportError as error:
        raise EngineMissingError(_missing(folder, method, error)) from error
    except (*_FOREIGN, SafetensorError) as error:
        raise CheckpointError(
            f"{folder}: transformers cannot load this checkpoint: {_words(error)}"
        ) from error
    # transformers 5.17 fills what is missing with random numbers, and goes on.
    missing_weights.refuse(folder, info)
    _compute_plainly(model)
    if settings is not None:
        _settle(model, settings, dtype)
    model.eval()
    own = str(model.dtype).removeprefix("torch.")
    if dtype not in (AUTO, own):
        raise RecipeError(
            f"evaluate.dtype={dtype}: a checkpoint of method {method or 'none'} is computed in "
            f"{own} here; evaluate.dtype={own} measures all alike"
        )
    return LoadedModel(model, method, own, device, *kernels.used(model))


def _settle(model: Any, settings: QuantizationSettings, dtype: str) -> None:
    """Give all parts of a quantized model the precision that is meant."""
    import torch

    wanted = precision.plain(settings) if dtype == AUTO else dtype
    if wanted == precision.FLOAT32:
        if settings.method == "auto-round":
            # transformers 5.17 refuses `float()` of a quantized model; what is left are scales in
            # float16.
            torch.nn.Module.float(model)
        precision.widen(model)
    elif wanted != precision.STORED and settings.method == "awq":
        # transformers 5.17 takes float16 for bfloat16 on a GPU (quantizer_awq.py, update_dtype).
        torch.nn.Module.to(model, getattr(torch, wanted))
    if wanted != precision.STORED:
        kernels.compute_in(model, wanted)


def _options(
    settings: QuantizationSettings | None, device: str, dtype: str, kernel: str
) -> dict[str, Any]:
    """The options of ``from_pretrained`` for precision and kernel."""
    import torch

    wanted = precision.FLOAT32 if dtype == AUTO else dtype
    options: dict[str, Any] = {}
    if settings is not None:
        precision.refuse(settings, dtype)
        options = kernels.option(settings, device, kernel)
        wanted = precision.plain(settings) if dtype == AUTO else dtype
    return {**options, "dtype": wanted if wanted == precision.STORED else getattr(torch, wanted)}


def _read(folder: Path, device: str, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The model by transformers, and what it found missing or left over."""
    from transformers import AutoModelForCausalLM

    from_pretrained: Any = AutoModelForCausalLM.from_pretrained
    with warnings.catch_warnings():
        # Asked for a kernel, transformers 5.17 warns that the rest of the settings are the
        # checkpoint's: as meant.
        warnings.filterwarnings("ignore", message="You passed `quantization_config`")
        model, info = from_pretrained(
            folder,
            device_map=device,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            **options,
        )
    return model, dict(info)


def _compute_plainly(model: Any) -> None:
    """Let bitsandbytes (0.50.2) dequantize 4-bit weights and multiply in float32 on every CPU.

    On one with AVX-512 BF16 it packs them anew for a kernel in bfloat16: other figures than
    elsewhere, and an AssertionError for matrices whose rows 32 does not divide.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            # bitsandbytes 0.50.2 else computes in bfloat16 on CPUs with AVX-512 BF16.
            module.support_avx512bf16_for_cpu = False


def _refuse_unknown(folder: Path, settings: QuantizationSettings) -> None:
    """Raise CheckpointError for a method that transformers does not know."""
    import transformers
    from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING

    # transformers 5.17 computes such a model as if it were not quantized.
    known = settings.method in (*AUTO_QUANTIZATION_CONFIG_MAPPING, "bitsandbytes")
    if known and settings.method not in _MADE_ALONE:
        return
    verb = "makes and does not read" if known else "does not compute"
    help_ = "give the checkpoint before quantization"
    if settings.method == "modelopt":
        help_ += ", or quantize.via=f16, a GGUF file of what its numbers stand for"
    raise CheckpointError(
        f"{folder}: is quantized ({settings.words}), which transformers "
        f"{transformers.__version__} {verb}; {help_}"
    )


def _own_config(folder: Path, settings: QuantizationSettings | None) -> dict[str, Any]:
    """The config where transformers would not find, or not understand, what config.json says."""
    from transformers import AutoConfig

    elsewhere = wants_package(_config(folder), folder / CONFIG)
    fields = None if settings is None else _own_settings(folder, settings)
    if fields is None and not elsewhere:
        return {}
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if elsewhere:
        # The Auto class passes over its argument of that name where config.json has
        # _attn_implementation (5.17).
        config._attn_implementation = "sdpa"
    if fields is not None:
        config.quantization_config = fields
    return {"config": config}


def _own_settings(folder: Path, settings: QuantizationSettings) -> dict[str, Any] | None:
    """The ``quantization_config`` that transformers needs; None if it is there already."""
    fields = settings.for_transformers
    if (
        settings.method == "auto-round"
        and settings.fields.get("packing_format") == "auto_round:fp8"
    ):
        # The layout of method fp8; auto-round 0.15.1's own reader fails at groups of two numbers.
        names = ("activation_scheme", "weight_block_size")
        missing_weights.refuse_unscaled(folder)
        fields = {
            "quant_method": "fp8",
            **{n: settings.fields[n] for n in names if n in settings.fields},
        }
    if settings.method == "fp8":
        missing_weights.refuse_unscaled(folder)
    if fields is None and settings.method == "auto-round":
        precision.auto_round_in_float32()
    return fields


def _missing(folder: Path, method: str | None, error: ImportError) -> str:
    has_extra = method is None or method in _EXTRAS
    help_ = (
        extras.command(_EXTRAS.get(method or "", "hf"))
        if has_extra
        else "qpipe has no extra for it"
    )
    return (
        f"{folder}: a checkpoint of method {method or 'none'} needs packages that are not here "
        f"({_words(error)}): {help_}"
    )


def _words(error: BaseException) -> str:
    if "automatic conversion of the weights" in str(error):
        # transformers 5.17 prints which, and raises an error that points to what it printed.
        return "parts of its packed weights are missing or damaged (the stage's log names them)"
    lines = [line.strip() for line in reason(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
