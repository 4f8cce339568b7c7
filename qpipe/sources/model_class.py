"""The class of a source's model, by which a stage is chosen before anything is fetched."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path

from qpipe.core import file_lock

CONFIG = "config.json"


@dataclass(frozen=True)
class ModelClass:
    """The first of config.json's ``architectures``, and the method by which its weights are
    quantized; None if they are not, or by none that it names."""

    name: str
    method: str | None


def read(config: Path) -> ModelClass | None:
    """The class that a config.json names; None if it is not there, or names none: whoever reads the
    model says what is wrong with it."""
    try:
        fields = json.loads(config.read_bytes())
        name = fields["architectures"][0]
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return None
    settings = fields.get("quantization_config")
    method = settings.get("quant_method") if isinstance(settings, dict) else None
    if not isinstance(name, str):
        return None
    return ModelClass(name, method if isinstance(method, str) else None)


def recall(note: Path) -> ModelClass | None:
    """The class that `remember` noted, or None."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return ModelClass(**json.loads(note.read_bytes()))
    return None


def remember(note: Path, found: ModelClass) -> None:
    """Note the class of a commit, which stays what it is, for the next time."""
    text = json.dumps({"name": found.name, "method": found.method})
    with contextlib.suppress(OSError):
        file_lock.write_atomic(note, text.encode(), sync=False)
