"""The one question of this room, and which file answers it for which method."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from qpipe.errors import RecipeError, nearest
from qpipe.sizes import of_checkpoint, of_exl2, of_gguf, of_packed
from qpipe.sizes.known_fields import FIELDS
from qpipe.sizes.methods import PACKINGS
from qpipe.sizes.predicted import PredictedSize
from qpipe.sizes.settings import Settings
from qpipe.sizes.source import ModelSource
from qpipe.sizes.vocabulary import Vocabulary

_Predict = Callable[[ModelSource, Settings, Vocabulary], PredictedSize]

_MOST = 4096
_answers: dict[tuple[str, str, str], PredictedSize] = {}


def predict(
    config: Mapping[str, Any] | Path | str,
    quantize: Mapping[str, Any],
    *,
    vocabulary: Path | int | None = None,
) -> PredictedSize:
    """The size of a model in a format, from config.json and the format alone.

    ``config`` has the fields of config.json, or is that file, or a folder with it, or a GGUF file,
    of which the header is read, and which can be in formats of GGUF alone. ``quantize`` has
    the fields of a recipe's section of that name, with the defaults of recipes/quantize/.
    ``vocabulary`` is a folder with the tokenizer's files, by default that of config.json, or the
    bytes that the vocabulary takes in a GGUF file; where there are neither, the bytes are a known
    tokenizer's, or an average, and ``notes`` say so.

    Raises CheckpointError for a model whose tensors are not known or whose config contradicts
    itself, RecipeError for a format that is none.
    """
    settings = Settings(quantize)
    if not isinstance(config, Mapping) and str(config).endswith(".gguf"):
        return _of_file(Path(config), settings)
    source = ModelSource.of(config)
    known = Vocabulary.of(source, vocabulary)
    asked = json.dumps(quantize, sort_keys=False, default=str)
    question = (source.identity, asked, known.identity)
    if question not in _answers:
        if len(_answers) >= _MOST:
            _answers.clear()
        _answers[question] = _by_method(settings)(source, settings, known)
    return _answers[question]


def _of_file(file: Path, settings: Settings) -> PredictedSize:
    if settings.method not in ("gguf", "none") or settings.fields.get("dtype"):
        raise RecipeError(
            f"{file}: of a GGUF file sizes are known as GGUF alone; give its config.json for "
            f"{settings.method}"
        )
    settings.require_known(FIELDS[settings.method])
    return of_gguf.of_file(file, settings)


def _by_method(settings: Settings) -> _Predict:
    methods: dict[str, _Predict] = {
        "gguf": of_gguf.predicted,
        "none": _unquantized,
        "exl2": lambda source, asked, _: of_exl2.predicted(source, asked),
        **dict.fromkeys(PACKINGS, _packed),
    }
    method = settings.method
    if method not in methods:
        raise RecipeError(
            f"quantize.method is {method!r}, of which no size is predicted; "
            f"{nearest(method, methods)}"
        )
    settings.require_known(FIELDS[method])
    if method != "gguf" and settings.fields.get("target") is not None:
        raise RecipeError(
            "quantize.target: which bits a module has hangs on what it loses, which a run "
            "measures, so its size is known then; it is within the target"
        )
    return methods[method]


def _unquantized(source: ModelSource, settings: Settings, vocabulary: Vocabulary) -> PredictedSize:
    """A GGUF file, or with ``dtype`` a checkpoint, as recipes/quantize/none.yaml has it."""
    if settings.fields.get("dtype") in (None, "none"):
        return of_gguf.unquantized(source, settings, vocabulary)
    return of_checkpoint.predicted(source, settings)


def _packed(source: ModelSource, settings: Settings, vocabulary: Vocabulary) -> PredictedSize:
    """A packed checkpoint, or the GGUF file that AutoRound writes."""
    form = settings.fields.get("format")
    if settings.method != "autoround" or not str(form).startswith("gguf:"):
        return of_packed.sized(source, settings, PACKINGS[settings.method](source, settings))
    kind = str(form).removeprefix("gguf:").upper().replace("Q2_K_MIXED", "Q2_K")
    said = of_gguf.predicted(source, Settings({"method": "gguf", "type": kind}), vocabulary)
    note = f"auto-round's {form}: the types are taken to be those of llama.cpp's {kind}"
    return replace(said, notes=(*said.notes, note))
