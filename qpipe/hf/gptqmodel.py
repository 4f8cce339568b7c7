"""GPTQ and AWQ checkpoints that transformers cannot read or compute as it does by itself.

Rules for single modules (``dynamic``), a quantized output matrix, experts that are packed one by
one, and matrices within layers that are not packed (gates of linear attention): transformers reads
such a checkpoint as if all modules were alike and none were these, and fills what it then lacks
with random numbers; GPTQModel and vLLM follow them.

What GPTQModel 7.6.0 gets wrong when it loads a model is mended in its own process.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from qpipe.errors import CheckpointError
from qpipe.hf.implementations import link_without, wants_package
from qpipe.hf.quantized import CONFIG, QuantizationSettings, read_object, read_settings

_EXPERT = re.compile(r"\.experts\.\d+\..*\.qweight$")
_PLAIN = re.compile(r"\.\d+\..*\.weight$")
# What a packed matrix cannot be without (GPTQModel 7.6.0 fills what is missing).
_PARTS = (".qweight", ".qzeros", ".scales")
# Low bits lie apart from high ones: transformers 5.17 and optimum 2.3.0 read them as if they did
# not, and compute noise without a word.
_PLANES = "gptq_p"
# What gptqmodel 7.6.0 calls kernels that are not its plain one.
_BACKENDS = {
    "triton": "triton",
    "exllamav2": "exllama_v2",
    "marlin": "marlin",
    "machete": "machete",
}
# Whose layers optimum 2.3.0, by which transformers reads GPTQ, does not find.
_WITHOUT_LAYERS = ("mpt",)


def needs_gptqmodel(folder: Path, settings: QuantizationSettings) -> bool:
    """True if GPTQModel has to read the checkpoint, and not transformers."""
    if settings.method not in ("gptq", "awq"):
        return False
    if settings.method == "gptq" and (
        settings.fields.get("dynamic")
        or settings.fields.get("lm_head")
        or _PLANES in (settings.fields.get("checkpoint_format"), settings.fields.get("format"))
    ):
        return True
    names = [name for name, _ in _matrices(folder)]
    if any(_EXPERT.search(name) for name in names):
        return True
    if settings.method == "awq" or settings.fields.get("modules_in_block_to_quantize"):
        return False  # the first has a list of plain modules, the second is one of packed ones
    alone = read_object(folder / CONFIG).get("model_type") in _WITHOUT_LAYERS
    return alone or any(_PLAIN.search(name) for name in names)


def load(folder: Path, *, device: str, dtype: str, kernel: str) -> Any:
    """The transformers model inside, in ``dtype``, with a kernel as `qpipe.hf.kernels` names it.

    GPTQModel patches transformers and must be the only thing in its process. Raises CheckpointError
    for weights that are missing, and what GPTQModel and transformers raise.
    """
    # GPTQModel 7.6.0 takes one worker where there are two cores or fewer, and waits for a second.
    os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")
    import torch
    from gptqmodel import BACKEND, GPTQModel

    with TemporaryDirectory(prefix="qpipe-") as temporary, mended_loading():
        readable = folder
        if wants_package(read_object(folder / CONFIG), folder / CONFIG):
            readable = Path(temporary)
            link_without(folder, readable)
        # Not GPTQModel 7.6.0's own choice: on a CPU that is torch's fused kernel, which rounds to
        # bfloat16 and does not compute every shape.
        backend = BACKEND(_BACKENDS.get(kernel, "torch"))
        loaded_in = torch.bfloat16 if dtype == "float32" else getattr(torch, dtype)
        model = GPTQModel.load(str(readable), device=device, backend=backend, dtype=loaded_in).model
    # GPTQModel 7.6.0 makes up what it lacks, and says nothing.
    _refuse_gaps(folder, model)
    return _as_stored(folder, model.float()) if dtype == "float32" else model


def _as_stored(folder: Path, model: Any) -> Any:
    """The model with scales and biases as they are stored: its kernels take float16 or bfloat16,
    and what was rounded to bfloat16 (scales by up to 0.4 %) stays so when it gets wider."""
    from safetensors import safe_open

    own = model.state_dict()
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in own.keys() & file.keys():
                stored = file.get_tensor(name)
                # gptqmodel 7.6.0 has them rounded to bfloat16 by now.
                if own[name].is_floating_point() and own[name].shape == stored.shape:
                    own[name].copy_(stored)
    return model


def _refuse_gaps(folder: Path, model: Any) -> None:
    """GPTQModel too makes up what it lacks, and says nothing.

    The order of columns (g_idx) is only there to be read where they were reordered (desc_act).
    """
    settings = read_settings(folder, read_object(folder / CONFIG))
    ordered = settings is not None and settings.fields.get("desc_act") is True
    parts = (*_PARTS, *((".g_idx",) if ordered else ()))
    required = {name for name in model.state_dict() if name.endswith(parts)}
    if missing := sorted(required - set(_names(folder))):
        raise CheckpointError(
            f"{folder}: the checkpoint lacks {len(missing)} parts of packed matrices that its "
            f"config.json asks for, such as {missing[0]}; get or make it again"
        )


def _names(folder: Path) -> Iterator[str]:
    """The name of each tensor, from the headers."""
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "numpy") as file:
            yield from file.keys()


def _matrices(folder: Path) -> Iterator[tuple[str, list[int]]]:
    """The name and shape of each plain matrix and of each packed one's words, from the headers."""
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "numpy") as file:
            for name in file.keys():  # noqa: SIM118  no mapping
                if name.endswith((".qweight", ".weight")):
                    shape = file.get_slice(name).get_shape()
                    if len(shape) == 2:
                        yield name, shape


@contextmanager
def mended_loading() -> Iterator[None]:
    """Load models without a pad token, and with several kinds of RoPE."""
    from gptqmodel.utils import hf
    from tokenicer.tokenicer import Tokenicer

    within = _within(Tokenicer._auto_map_pad_token)
    whole = _whole(hf._normalize_rope_parameters_config_compat)
    with (
        replaced(Tokenicer, "_auto_map_pad_token", within),
        replaced(hf, "_normalize_rope_parameters_config_compat", whole),
    ):
        yield


def _within(choose: Any) -> Any:
    """Tokenicer 0.0.14 takes a pad token that the embeddings may have no row for, and writes it
    into the config; torch then refuses to make them. What pads is masked: any token does."""

    def within(self: Any, model_config: Any, pad_tokens: Any) -> Any:
        token = choose(self, model_config, pad_tokens)
        text = model_config.get_text_config()
        # Tokenicer 0.0.14: a pad token beyond the embeddings.
        return token if token is None or token < text.vocab_size else 0

    return within


def _whole(normalize: Any) -> Any:
    """GPTQModel puts ``rope_type`` beside the RoPE of each kind of layer (Gemma 3, OLMo 3), and
    transformers then fails to save the config."""

    def whole(config: Any) -> None:
        rope = getattr(config, "rope_parameters", None) or {}
        # GPTQModel 7.6.0 puts rope_type beside RoPEs by kind of layer, which transformers 5.17
        # fails to save.
        if not any(isinstance(value, dict) for value in rope.values()):
            normalize(config)

    return whole


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Have another value under a name of a class or module for a while."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
