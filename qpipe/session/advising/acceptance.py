"""Whether engine and runtime take a model, asked as `qpipe plan` asks them: by config.json, and by
the headers of its weights where they lie beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from qpipe.errors import CheckpointError, QpipeError, RecipeError
from qpipe.gguf.config import Config
from qpipe.runtimes import architectures
from qpipe.session.reproducing.quantize_fields import fields
from qpipe.sizes.source import ModelSource
from qpipe.stages import base, registry

_CONFIG, _QUANTIZE = "config.json", "quantize"
_MODEL, _CALIBRATION = "model", "calibration"
_CALIBRATED = ("gptq", "awq", "autoround", "exl2")


def section(quantize: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe's section ``quantize`` that fields of it make, with its defaults."""
    return {**fields("local", [f"quantize={quantize.get('method', 'none')}"]), **quantize}


class Acceptance:
    """Engines and runtimes as they are asked about one model: ``config`` are the fields of its
    config.json, or that file. Each is asked once."""

    def __init__(self, config: Mapping[str, Any] | Path) -> None:
        """Keep the model; nothing is asked yet."""
        self._source = ModelSource.of(config)
        self._answers: dict[str, QpipeError | None] = {}

    def require(self, runtime: str, quantize: Mapping[str, Any]) -> None:
        """Raise RecipeError or CheckpointError, as the engine says it, for a format that cannot be
        made of this model, and RecipeError for one of a class that ``runtime`` does not know."""
        architectures.require(runtime, self._source.config.fields)
        asked = json.dumps(quantize, sort_keys=True, default=str)
        if asked not in self._answers:
            self._answers[asked] = self._asked(section(quantize))
        answer = self._answers[asked]
        if answer is not None:
            raise answer

    def _asked(self, wanted: Mapping[str, Any]) -> QpipeError | None:
        """The refusal of the engine, None where it takes it; of GGUF files sizes tell already."""
        if wanted.get("method") in (None, "none", "gguf"):
            return None
        stage = registry.find(_QUANTIZE, wanted, field=_QUANTIZE, formats={_MODEL: base.CHECKPOINT})
        known = stage.Params.model_fields
        params = stage.Params.model_validate({k: v for k, v in wanted.items() if k in known})
        coming = {_CALIBRATION} if wanted["method"] in _CALIBRATED else set()
        with self._order(coming) as order:
            try:
                stage.refuse(params, order)
            except (CheckpointError, RecipeError) as error:
                return error
            except QpipeError:  # of this machine, and not of the model
                return None
        return None

    @contextmanager
    def _order(self, coming: set[str]) -> Iterator[base.Order]:
        if self._source.folder is not None and self._source.weight_files:
            yield base.Order({_MODEL: self._source.folder}, coming=coming)
        elif self._source.folder is not None:
            yield self._ahead(self._source.config, coming)
        else:
            with TemporaryDirectory() as folder:
                file = Path(folder, _CONFIG)
                file.write_text(json.dumps(self._source.config.fields))
                yield self._ahead(Config(file, self._source.config.fields), coming)

    def _ahead(self, config: Config, coming: set[str]) -> base.Order:
        return base.Order({}, configs={_MODEL: config.path}, coming={_MODEL, *coming})
