"""How a model is to be computed, where its config.json asks for something: by name only.

transformers takes the name OWNER/NAME of a repository of kernels there, downloads that and runs it
(5.17, `integrations/hub_kernels.py`). A checkpoint is data, and chooses no code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from qpipe.errors import CheckpointError

_FIELDS = {"attn_implementation", "experts_implementation"}
# What needs no package of its own.
_PLAIN = {"eager", "sdpa"}


def refuse_code(config: Mapping[str, Any], path: Path) -> None:
    """Raise CheckpointError for a field of ``config``, read from ``path``, that names code to be
    fetched and run."""
    for field, value in _asked(config):
        if not isinstance(value, str) or not re.fullmatch(r"[\w|]+", value):
            raise CheckpointError(
                f"{path}: field {field!r} is {value!r}, which would fetch code and run it; a "
                "checkpoint is data: take the field out"
            )


def attention(config: Mapping[str, Any], path: Path) -> dict[str, str]:
    """The argument of `from_pretrained` that computes what config.json asks to be computed by
    packages that may not be here (flash_attention_2), to the same result.

    Raises CheckpointError as `refuse_code`.
    """
    refuse_code(config, path)
    names = {str(value) for field, value in _asked(config) if "attn" in field}
    return {"attn_implementation": "sdpa"} if names - _PLAIN else {}


def _asked(config: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, Any]]:
    """The (dotted field, value) of each wish, those of parts of the model included."""
    for name, value in config.items():
        field = f"{at}{name}"
        if re.sub(r"^_|_internal$", "", name) in _FIELDS and value is not None:
            yield field, value
        elif isinstance(value, Mapping):
            yield from _asked(value, f"{field}.")
