"""The model that advice is about: its name, its config.json, and where a recipe finds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qpipe.errors import CheckpointError
from qpipe.memory import geometry
from qpipe.session.estimating.conditions import trained
from qpipe.session.estimating.models import find
from qpipe.sizes import tensors
from qpipe.sizes.source import ModelSource
from qpipe.support.files import is_file

_CONFIG = "config.json"


@dataclass(frozen=True)
class AdvisedModel:
    """A model: ``config`` as `qpipe.sizes.predict` takes it, ``source`` as `model.source` does;
    ``trained`` are the tokens of context that it was made for, as far as config.json says."""

    name: str
    source: str
    config: Mapping[str, Any] | Path
    weights: int
    trained: int | None = None
    notes: tuple[str, ...] = ()


def subject(model: str) -> AdvisedModel:
    """The model that ``model`` names. Raises UsageError, SourceError or CheckpointError, also for
    one that is quantized already, of which other formats are not made."""
    named = find(model)
    if named.is_gguf:
        raise CheckpointError(
            f"{model}: a GGUF file: advice is on what to make of a model, so give the checkpoint "
            f"that it was made from; `qpipe estimate {model}` says what the file itself takes"
        )
    source = ModelSource.of(named.config)
    notes = [*named.notes]
    if source.settings is not None:
        notes.append(
            f"its weights are published quantized already ({source.settings.words}), and run as "
            "they are: making another format of them loses once more; where there is an original, "
            "start from that"
        )
    weights = tensors.of(source).weights
    where, made_for = _source(model, named.name), trained(geometry(named.config))
    return AdvisedModel(named.name, where, named.config, weights, made_for, tuple(notes))


def _source(model: str, name: str) -> str:
    """Return what `model.source` takes: a config.json's folder for it, else the name."""
    path = Path(model)
    if path.name == _CONFIG and is_file(path):
        return str(path.parent)
    return model if path.exists() or model.startswith("builtin:") else name
