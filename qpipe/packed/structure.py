"""The structure of a checkpoint folder: its packed matrices and plain tensors, each checked.

Nothing but headers is read, so that gigabytes are checked in milliseconds.
"""

from __future__ import annotations

import importlib
import inspect
import math
import pkgutil
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from qpipe.errors import CheckpointError, nearest
from qpipe.gguf.checkpoint import Checkpoint, open_checkpoint
from qpipe.gguf.safetensors import StoredTensor
from qpipe.hf.quantized import QuantizationSettings, read_settings
from qpipe.packed import formats
from qpipe.packed.fields import Fields
from qpipe.packed.formats.base import Packed, PackedFormat, content

# transformers 5.17, pytorch_utils.py, ``Conv1D``.
CONV1D = ("gpt2", "openai-gpt", "imagegpt", "decision_transformer")
"""Types of models whose matrices are stored as inputs × outputs."""

_CODES = ("F8_E4M3", "F8_E5M2", "I8", "U8", "I32", "U32")

_OUTPUT = "lm_head"
_EMBEDDING = re.compile(r"emb[^.]*\.weight$|\bwte\.weight$")

# Bytes of the largest bias that is looked at.
_VECTOR = 1 << 20

_NAMES = {"F32": "FP32", "F16": "FP16"}


@dataclass(frozen=True)
class Structure:
    """The contents of a folder: all ``tensors``, and the matrices that some of them are packed
    forms of.

    ``tool`` packed them, as far as is known. ``aside`` are tensors that stand for no weights.
    """

    folder: Path
    config: Mapping[str, Any]
    label: str
    tool: str | None
    modules: Mapping[str, Packed]
    tensors: Mapping[str, StoredTensor]
    aside: frozenset[str] = frozenset()

    @cached_property
    def plain(self) -> Mapping[str, StoredTensor]:
        """The tensors that belong to no packed matrix and hold weights."""
        parts = {part for module in self.modules.values() for part in module.parts} | self.aside
        return {name: tensor for name, tensor in self.tensors.items() if name not in parts}

    @property
    def files(self) -> set[Path]:
        """The files with the tensors, and not what lies beside them."""
        return {tensor.path for tensor in self.tensors.values()}

    @cached_property
    def tensor_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    @property
    def is_turned(self) -> bool:
        """True if packed matrices are the source's transposed: bitsandbytes' of `CONV1D`."""
        quantization = self.config.get("quantization_config") or {}
        # transformers 5.17 turns Conv1D matrices before bitsandbytes packs them.
        turns = quantization.get("quant_method") == "bitsandbytes"
        return turns and self.config.get("model_type") in CONV1D

    def packed_bytes(self, module: Packed) -> int:
        """Bytes of all parts of ``module``."""
        return sum(self.tensors[part].nbytes for part in module.parts)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """The arguments of `qpipe.stages.engine.model_facts`.

        Bits per weight count every byte of every tensor, scales and zero points too, over the
        weights of the model that they stand for: none twice, and none that a tool made up.
        ``file_bytes`` are the weights' files.
        """
        more = self._added
        shapes = [module.shape for name, module in self.modules.items() if name not in more]
        shapes += [tensor.shape for name, tensor in self.plain.items() if name not in more]
        weights = sum(map(math.prod, shapes))
        if weights == 0:
            raise CheckpointError(f"{self.folder}: its tensors hold no number")
        types = Counter(module.type for module in self.modules.values())
        types.update(Counter(tensor.dtype for tensor in self.plain.values()))
        return {
            "file_type": self.label,
            "file_bytes": sum(file.stat().st_size for file in self.files),
            "tensor_bytes": self.tensor_bytes,
            "n_weights": weights,
            "bits_per_weight": self.tensor_bytes * 8 / weights,
            "architecture": self._architecture,
            "types": dict(types),
            "n_tensors": len(self.modules) + len(self.plain),
        }

    @property
    def _added(self) -> set[str]:
        """The matrices and tensors of a packed checkpoint that are no weights of the model.

        AutoGPTQ 0.7.1 writes a copy of an output matrix that is tied to the embeddings, exllamav2
        0.3.2 one packed by itself, and AutoGPTQ a bias of zeros for each matrix that has none.
        """
        if not self.modules:
            return set()
        biases = {f"{name}.bias" for name in self.modules} & self.plain.keys()
        added = {name for name in biases if _is_zero(self.plain[name])}
        embedded = any(_EMBEDDING.search(name) for name in self.plain)
        if embedded and self.config.get("tie_word_embeddings") is True:
            added |= {_OUTPUT, f"{_OUTPUT}.weight"}
        return added

    @property
    def _architecture(self) -> str:
        named = self.config.get("architectures")
        first = named[0] if isinstance(named, list) and named else None
        return first if isinstance(first, str) else "unknown"


def read(folder: Path) -> Structure:
    """The structure of the checkpoint in ``folder``.

    Raises CheckpointError for what is missing, damaged, of a wrong type or shape, or packed in a
    way that is not known.
    """
    return of(open_checkpoint(folder))


def of(opened: Checkpoint) -> Structure:
    """`read` of a checkpoint that is open already, as its files are. Raises CheckpointError."""
    folder, config = opened.folder, opened.config.fields
    settings = read_settings(folder, config)
    label = _plain_label(opened.tensors)
    if settings is None:
        return Structure(folder, config, label, None, {}, opened.tensors)
    if (why := unread(settings)) is not None:
        raise CheckpointError(f"{folder}: quantized {why}, which qpipe does not read")
    form, fields = _format(settings), Fields(settings.path, settings.where, settings.fields)
    tensors = opened.tensors
    modules = {item.name: item for item in form.modules(tensors, fields)}
    if not modules and form.packs(fields):
        raise CheckpointError(
            f"{folder}: says that it is {form.label(fields)}, and no module is packed"
        )
    packed_label = form.label(fields) if modules else f"{label}-{form.label(fields)}"
    aside = frozenset(form.aside(tensors, fields))
    made = Structure(folder, config, packed_label, form.tool(fields), modules, tensors, aside)
    _refuse_codes(made)
    return made


def _refuse_codes(contents: Structure) -> None:
    """Refuse weights of a byte or a word that no packed matrix has: codes without scales."""
    for name, tensor in contents.plain.items():
        if name.endswith(".weight") and tensor.dtype in _CODES:
            raise CheckpointError(
                f"{tensor.origin} is {tensor.dtype}, and not packed by {contents.label} as the "
                "others are: what scales it is missing; get or make the checkpoint again"
            )


def unread(settings: QuantizationSettings) -> str | None:
    """Say, after the word "quantized", what cannot be read of a checkpoint with these settings;
    None if all can.

    Raises CheckpointError for a field of a wrong type.
    """
    if settings.method is None:
        return "by a method that it does not name"
    if settings.method not in _formats():
        near = nearest(settings.method, _formats())
        hint = f" ({near})" if near.startswith("did you mean") else ""
        return f"by the method {settings.method!r:.80}{hint}"
    form = _format(settings).unread(Fields(settings.path, settings.where, settings.fields))
    return None if form is None else f"by {settings.method} in {form}"


def compare(structure: Structure, source: Path) -> None:
    """Check that nothing of ``source`` got lost or changed its shape.

    Raises CheckpointError naming the tensors.
    """
    original = open_checkpoint(source).tensors
    for name, tensor in original.items():
        module = structure.modules.get(name.removesuffix(".weight"))
        shape = module.shape if module else name in structure.plain and structure.plain[name].shape
        if module is not None and structure.is_turned:
            shape = module.shape[::-1]
        if module is not None and not structure.is_turned and module.fits(tensor.shape):
            continue
        if shape is False:
            if name == "lm_head.weight" and structure.config.get("tie_word_embeddings") is True:
                continue  # a copy of the embeddings that need not be written
            raise CheckpointError(f"{structure.folder}: {name!r} of the original is missing")
        if shape != tensor.shape:
            raise CheckpointError(
                f"{structure.folder}: {name!r} is {list(shape)}, and {list(tensor.shape)} in the "
                "original"
            )


@cache
def _formats() -> Mapping[str, PackedFormat]:
    """Every format, by each ``quant_method`` that it reads."""
    by_method: dict[str, PackedFormat] = {}
    for info in pkgutil.iter_modules(formats.__path__, f"{formats.__name__}."):
        for value in vars(importlib.import_module(info.name)).values():
            own = isinstance(value, type) and issubclass(value, PackedFormat)
            if own and not inspect.isabstract(value):
                by_method.update(dict.fromkeys(value.METHODS, value()))
    return by_method


def _format(settings: QuantizationSettings) -> PackedFormat:
    return _formats()[str(settings.method)]


def _is_zero(tensor: StoredTensor) -> bool:
    """Tell whether a vector is all zeros; -0.0 is none."""
    return len(tensor.shape) == 1 and tensor.nbytes <= _VECTOR and not any(content(tensor))


def _plain_label(tensors: Mapping[str, StoredTensor]) -> str:
    """The precision in which most weights are."""
    sizes: Counter[str] = Counter()
    for tensor in tensors.values():
        sizes[tensor.dtype] += math.prod(tensor.shape)
    kind = sizes.most_common(1)[0][0]
    return _NAMES.get(kind, kind)
