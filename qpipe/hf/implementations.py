"""How a model is to be computed, where its config.json asks for something: by name only.

transformers takes the name OWNER/NAME of a repository of kernels there, downloads that and runs it
(5.17, `integrations/hub_kernels.py`). A checkpoint is data, and chooses no code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from qpipe.core.layout import MANIFEST
from qpipe.errors import CheckpointError
from qpipe.machine.filesystem import link

_FIELDS = {"attn_implementation", "experts_implementation"}
# What needs no package of its own.
_PLAIN = {"eager", "sdpa"}


def refuse_code(config: Mapping[str, Any], path: Path) -> None:
    """Raise CheckpointError for a field of ``config``, read from ``path``, that names code to be
    fetched and run."""
    for field, value in _wishes(config):
        if not isinstance(value, str) or not re.fullmatch(r"[\w|]+", value):
            raise CheckpointError(
                f"{path}: field {field!r} is {value!r}, which would fetch code and run it; a "
                "checkpoint is data: take the field out"
            )


def wants_package(config: Mapping[str, Any], path: Path) -> bool:
    """True if config.json asks for attention by a package that may not be here (flash_attention_2),
    whose result torch's own gives too.

    Raises CheckpointError as `refuse_code`.
    """
    refuse_code(config, path)
    return bool({str(value) for field, value in _wishes(config) if "attn" in field} - _PLAIN)


def without(config: Mapping[str, Any]) -> dict[str, Any]:
    """``config`` without such fields, for tools that load a folder by themselves: they would want
    the package that computes so, and fail where it is not installed."""
    return {
        name: without(value) if isinstance(value, Mapping) else value
        for name, value in config.items()
        if not _is_wish(name)
    }


def link_without(source: Path, out: Path) -> None:
    """Link a checkpoint into the folder ``out``, but its config.json, written `without` wishes."""
    for path in source.iterdir():
        if path.is_file() and path.name not in (MANIFEST, "config.json"):
            link(path, out / path.name)
    config = json.loads((source / "config.json").read_bytes())
    (out / "config.json").write_text(json.dumps(without(config), indent=2))


def _is_wish(name: str) -> bool:
    return re.sub(r"^_|_internal$", "", name) in _FIELDS


def _wishes(config: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, Any]]:
    """The (dotted field, value) of each wish, those of parts of the model included."""
    for name, value in config.items():
        field = f"{at}{name}"
        if _is_wish(name) and value is not None:
            yield field, value
        elif isinstance(value, Mapping):
            yield from _wishes(value, f"{field}.")
