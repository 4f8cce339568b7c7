"""Schemes of compressed-tensors and torchao that the installed version does not have: refused by
name and version, where the libraries raise what pydantic and getattr do."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from qpipe.errors import EngineMissingError
from qpipe.hf.quantized import QuantizationSettings

_COMPRESSED, _TORCHAO = "compressed-tensors", "torchao"


def refuse_unknown(folder: Path, settings: QuantizationSettings) -> None:
    """Raise EngineMissingError for a format or a strategy that the installed library does not
    read, with what helps. Where the library itself is missing whoever loads the model says so."""
    if settings.method == _COMPRESSED:
        _compressed(folder, settings.fields)
    elif settings.method == _TORCHAO:
        _torchao(folder, settings.fields)


def _compressed(folder: Path, fields: Mapping[str, Any]) -> None:
    try:
        from compressed_tensors.compressors import BaseCompressor
        from compressed_tensors.config import CompressionFormat
        from compressed_tensors.quantization import QuantizationStrategy
    except ImportError:
        return
    known = {each.value for each in CompressionFormat}
    read = {*BaseCompressor.registered_names(), "dense", "mixed-precision"}
    formats = [
        ("sparsity_config.format", _object(fields.get("sparsity_config")).get("format")),
        ("format", fields.get("format")),
        *_of_groups(fields, "format"),
    ]
    for field, value in formats:
        if isinstance(value, str) and value not in read:
            raise _error(folder, field, value, _COMPRESSED, fields, older=value in known)
    strategies = {each.value for each in QuantizationStrategy}
    for field, value in _of_weights(fields, "strategy"):
        if isinstance(value, str) and value not in strategies:
            raise _error(folder, field, value, _COMPRESSED, fields, older=False)


def _torchao(folder: Path, fields: Mapping[str, Any]) -> None:
    try:
        from torchao.core.config import ALLOWED_AO_MODULES
    except ImportError:
        return
    name = _object(_object(fields.get("quant_type")).get("default")).get("_type")
    if not isinstance(name, str):
        return
    if not any(_has(module, name) for module in sorted(ALLOWED_AO_MODULES)):
        raise _error(folder, "quant_type.default._type", name, _TORCHAO, fields, older=False)


def _has(module: str, name: str) -> bool:
    try:
        return hasattr(importlib.import_module(module), name)
    except ImportError:  # torchao 0.18 lists some that want other packages, and passes them over
        return False


def _of_groups(fields: Mapping[str, Any], field: str) -> Iterator[tuple[str, Any]]:
    for name, group in _object(fields.get("config_groups")).items():
        yield f"config_groups.{name}.{field}", _object(group).get(field)


def _of_weights(fields: Mapping[str, Any], field: str) -> Iterator[tuple[str, Any]]:
    for name, weights in _of_groups(fields, "weights"):
        yield f"{name}.{field}", _object(weights).get(field)


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _error(
    folder: Path, field: str, value: str, library: str, fields: Mapping[str, Any], *, older: bool
) -> EngineMissingError:
    installed = importlib.metadata.version(library)
    made_by = fields.get("version")
    writer = f" (written by {made_by})" if isinstance(made_by, str) and len(made_by) < 40 else ""
    help_ = (
        "no version of today reads it: give the checkpoint before quantization"
        if older
        else f"install a newer one: pip install -U {library}"
    )
    return EngineMissingError(
        f"{folder}: quantization_config.{field} is {value!r:.80}{writer}, which {library} "
        f"{installed}, the one that is installed, does not read; {help_}"
    )
