"""The structure of a checkpoint folder: its packed matrices and plain tensors, each checked.

Nothing but headers is read, so that gigabytes are checked in milliseconds.
"""

from __future__ import annotations

import importlib
import inspect
import math
import pkgutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from qpipe.errors import CheckpointError, nearest
from qpipe.gguf.checkpoint import open_checkpoint
from qpipe.gguf.safetensors import StoredTensor
from qpipe.packed import formats
from qpipe.packed.formats.base import Format, Packed

_NAMES = {"F32": "FP32", "F16": "FP16"}


@dataclass(frozen=True)
class Structure:
    """What a folder holds: all ``tensors``, and the matrices that some of them are packed forms of.

    ``tool`` packed them, as far as is known.
    """

    folder: Path
    config: Mapping[str, Any]
    label: str
    tool: str | None
    modules: Mapping[str, Packed]
    tensors: Mapping[str, StoredTensor]

    @cached_property
    def plain(self) -> Mapping[str, StoredTensor]:
        """The tensors that belong to no packed matrix."""
        parts = {part for module in self.modules.values() for part in module.parts}
        return {name: tensor for name, tensor in self.tensors.items() if name not in parts}

    @cached_property
    def tensor_bytes(self) -> int:
        """Of all tensors."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def packed_bytes(self, module: Packed) -> int:
        """Of all its parts."""
        return sum(self.tensors[part].nbytes for part in module.parts)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """The arguments of `qpipe.stages.quantize.model_facts`.

        Bits per weight count every byte of every tensor, scales and zero points too, over the
        weights that they stand for; ``file_bytes`` are the weights' files.
        """
        shapes = [packed.shape for packed in self.modules.values()]
        shapes += [tensor.shape for tensor in self.plain.values()]
        weights = sum(map(math.prod, shapes))
        types = Counter(module.type for module in self.modules.values())
        types.update(Counter(tensor.dtype for tensor in self.plain.values()))
        return {
            "file_type": self.label,
            "file_bytes": sum(path.stat().st_size for path in self.folder.glob("*.safetensors")),
            "tensor_bytes": self.tensor_bytes,
            "n_weights": weights,
            "bits_per_weight": self.tensor_bytes * 8 / weights,
            "architecture": (self.config.get("architectures") or ["unknown"])[0],
            "types": dict(types),
            "n_tensors": len(self.modules) + len(self.plain),
        }


def read(folder: Path) -> Structure:
    """The structure of the checkpoint in ``folder``.

    Raises CheckpointError for what is missing, damaged, of a wrong type or shape, or packed in a
    way that is not known.
    """
    opened = open_checkpoint(folder)
    config = opened.config.fields
    quantization = config.get("quantization_config")
    modules: dict[str, Packed] = {}
    label, tool = _plain_label(opened.tensors), None
    if quantization is not None:
        form = _format(folder, quantization)
        try:
            modules = {item.name: item for item in form.modules(opened.tensors, quantization)}
            label, tool = form.label(quantization), form.tool(quantization)
        except (KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"{folder / 'config.json'}: quantization_config says too little ({error!r})"
            ) from None
        if not modules:
            raise CheckpointError(f"{folder}: says that it is {label}, and no module is packed")
    return Structure(folder, config, label, tool, modules, opened.tensors)


def is_known(method: object) -> bool:
    """Whether checkpoints of this ``quant_method`` can be read."""
    return method in _formats()


def compare(found: Structure, source: Path) -> None:
    """Check that nothing of ``source`` got lost or changed its shape.

    Raises CheckpointError naming the tensors.
    """
    original = open_checkpoint(source).tensors
    for name, tensor in original.items():
        module = found.modules.get(name.removesuffix(".weight"))
        shape = module.shape if module else name in found.plain and found.plain[name].shape
        if shape is False:
            if name == "lm_head.weight" and found.config.get("tie_word_embeddings"):
                continue  # a copy of the embeddings that need not be written
            raise CheckpointError(f"{found.folder}: {name!r} of the original is missing")
        if shape != tensor.shape:
            raise CheckpointError(
                f"{found.folder}: {name!r} is {list(shape)}, and {list(tensor.shape)} in the "
                "original"
            )


@cache
def _formats() -> Mapping[str, Format]:
    """Every format, by each ``quant_method`` that it reads."""
    found: dict[str, Format] = {}
    for info in pkgutil.iter_modules(formats.__path__, f"{formats.__name__}."):
        for value in vars(importlib.import_module(info.name)).values():
            own = isinstance(value, type) and issubclass(value, Format)
            if own and not inspect.isabstract(value):
                found.update(dict.fromkeys(value.METHODS, value()))
    return found


def _format(folder: Path, quantization: Any) -> Format:
    method = quantization.get("quant_method") if isinstance(quantization, dict) else None
    known = _formats()
    if not isinstance(method, str) or method not in known:
        raise CheckpointError(
            f"{folder / 'config.json'}: quantization_config.quant_method is {method!r}; "
            + nearest(str(method), known)
        )
    return known[method]


def _plain_label(tensors: Mapping[str, StoredTensor]) -> str:
    """The precision in which most weights are."""
    sizes: Counter[str] = Counter()
    for tensor in tensors.values():
        sizes[tensor.dtype] += math.prod(tensor.shape)
    kind = sizes.most_common(1)[0][0]
    return _NAMES.get(kind, kind)
