"""Which files of a folder are its model's weights, and what the folder holds where none are.

Other layouts of the same weights, adapters and what an earlier save left may lie beside them.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection
from fnmatch import fnmatch

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"

# Mistral's own layout, and LoRA: no tool reads these as the model.
_BESIDE = ("consolidated*", "adapter_*")
_PART = re.compile(r"model-[0-9]+-of-([0-9]+)\.safetensors")
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")


class AmbiguousError(ValueError):
    """A folder holds two sets of weights, of which tools read different ones."""


class IncompleteError(ValueError):
    """One of several files is missing; ``args`` are its name and the number of files."""


def is_beside(name: str) -> bool:
    """True if a file, of weights or not, belongs to another layout or to an adapter."""
    return any(fnmatch(name, pattern) for pattern in _BESIDE)


def weights(names: Collection[str], index: Collection[str] | None) -> list[str]:
    """The files with the model's weights, in order; none if there are none.

    ``index`` are those that the index names, None without one. Without an index, model.safetensors
    or its parts, as llama.cpp's converter finds them. Raises AmbiguousError for two sets, and
    IncompleteError for parts that are not all there.
    """
    files = sorted(name for name in names if fnmatch(name, "model*.safetensors"))
    if index is not None:
        if SINGLE in files and SINGLE not in index:
            raise AmbiguousError(_two(SINGLE, [*index], f"the files in {INDEX}"))
        return sorted(index)
    parts: dict[str, list[str]] = {}
    for name in files:
        if match := _PART.fullmatch(name):
            parts.setdefault(match[1], []).append(name)
    if parts and SINGLE in files:
        raise AmbiguousError(_two(SINGLE, next(iter(parts.values())), "parts without an index"))
    if len(parts) > 1:
        first, second, *_ = parts.values()
        raise AmbiguousError(_two(first[0], second, "parts of another number"))
    return _whole(*next(iter(parts.items()))) if parts else files


def _two(one: str, others: Collection[str], description: str) -> str:
    return (
        f"holds two sets of weights, {one} and {description} ({', '.join(sorted(others)[:2])}, …), "
        "and tools differ in which they read; remove the set that is out of date"
    )


def _whole(total: str, names: Collection[str]) -> list[str]:
    """The parts that a name with ``total`` in it promises.

    Counted up to what is there: the number is a name's, and may be any.
    """
    expected = (f"model-{i:0{len(total)}d}-of-{total}.safetensors" for i in itertools.count(1))
    files = list(itertools.takewhile(set(names).__contains__, expected))
    if str(len(files)).zfill(len(total)) != total:
        missing = f"model-{len(files) + 1:0{len(total)}d}-of-{total}.safetensors"
        raise IncompleteError(missing, total.lstrip("0") or "0")
    return files


def instead(names: Collection[str]) -> str:
    """Say what a folder without weights of its own holds, and what to do about it."""

    def first(*patterns: str) -> str | None:
        return next((n for p in patterns for n in sorted(names) if fnmatch(n, p)), None)

    if name := first("adapter_model.*", "adapter_config.json"):
        return (
            f"holds an adapter (LoRA: {name}) and not the model that it belongs to: merge it into "
            "its base model (peft: merge_and_unload(), then save_pretrained) and give that folder"
        )
    if name := first("consolidated*.safetensors", "consolidated*.pth"):
        return (
            f"holds {name} alone, which is Mistral's or Meta's own layout: give the same model's "
            "model*.safetensors, as its repository has them for transformers"
        )
    if name := first("*.gguf"):
        return f"holds no safetensors, but GGUF ({name}): give that file"
    if name := first(*_PICKLED):
        return (
            f"holds its weights as {name}, which is read by running it: convert {name} to "
            "safetensors (transformers: AutoModelForCausalLM.from_pretrained(FOLDER)"
            ".save_pretrained(OTHER)) and give that folder"
        )
    if name := first("*.h5", "*.msgpack", "*.onnx"):
        return f"holds {name} and no safetensors: give the model's PyTorch version as safetensors"
    if name := first("*.safetensors"):
        return (
            f"holds {name}, and neither {SINGLE} nor {INDEX}: if these are the model's weights, "
            f"rename the file to {SINGLE}"
        )
    return f"holds no weights: no {SINGLE} and no {INDEX}; download the checkpoint again"
