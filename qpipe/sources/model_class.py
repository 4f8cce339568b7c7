"""The class of a source's model, by which a stage is chosen before anything is fetched."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qpipe.core import file_lock
from qpipe.errors import CheckpointError
from qpipe.support import strict_json

CONFIG = "config.json"

# Bytes of the longest config.json that is read, as in qpipe/gguf/jsonfile.py.
_MOST = 1 << 25


@dataclass(frozen=True)
class ModelClass:
    """The first of config.json's ``architectures``, the method by which its weights are quantized
    (None if they are not, or by none that it names), and what it has towers for beside its text
    model: images, sound."""

    name: str
    method: str | None
    towers: tuple[str, ...] = ()


def read(config: Path) -> ModelClass | None:
    """The class that a config.json names; None if it is not there, or names none: whoever reads the
    model says what is wrong with it."""
    try:
        fields = strict_json.load(config, CheckpointError, most=_MOST)
        name = fields["architectures"][0]
    except (CheckpointError, KeyError, IndexError, TypeError):
        return None
    settings = fields.get("quantization_config")
    method = settings.get("quant_method") if isinstance(settings, dict) else None
    if not isinstance(name, str):
        return None
    return ModelClass(name, method if isinstance(method, str) else None, towers(fields))


def towers(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """The kinds of towers beside a text model, by config.json: images, sound."""
    kinds = {"images": ("vision_config", "vision_encoder"), "sound": ("audio_config",)}
    return tuple(kind for kind, names in kinds.items() if any(fields.get(name) for name in names))


def recall(note: Path) -> ModelClass | None:
    """The class that `remember` noted, or None."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):  # one of an older qpipe
        fields = json.loads(note.read_bytes())
        return ModelClass(fields["name"], fields["method"], tuple(fields["towers"]))
    return None


def remember(note: Path, found: ModelClass) -> None:
    """Note the class of a commit, which stays what it is, for the next time."""
    text = json.dumps(asdict(found))
    with contextlib.suppress(OSError):
        file_lock.write_atomic(note, text.encode(), sync=False)
