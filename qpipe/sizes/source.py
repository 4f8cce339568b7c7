"""The config.json that sizes are predicted from, wherever it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from qpipe.errors import CheckpointError
from qpipe.gguf import jsonfile
from qpipe.gguf.config import Config
from qpipe.hf.quantized import CONFIG, QuantizationSettings, settings_in
from qpipe.support.files import expanded, is_file

# The place of fields that come from no file, for messages; there is no such folder.
_NOWHERE = Path("<the model>", CONFIG)


@dataclass(frozen=True)
class ModelSource:
    """The fields of config.json; ``folder`` is where the file lies, if it lies with its model."""

    config: Config
    folder: Path | None = None

    @classmethod
    def of(cls, config: Mapping[str, Any] | Path | str) -> ModelSource:
        """Fields, a file, or a folder that has config.json. Raises CheckpointError for a file that
        is not there or holds no object."""
        if isinstance(config, Mapping):
            return cls(Config(_NOWHERE, config))
        path = expanded(str(config))
        file = path / CONFIG if path.is_dir() else path
        if not is_file(file):
            raise CheckpointError(f"{file}: no such file; give a model's config.json")
        folder = file.parent if file.name == CONFIG else None
        return cls(Config(file, jsonfile.load(file)), folder)

    @cached_property
    def settings(self) -> QuantizationSettings | None:
        """Settings of published weights that are quantized already. Raises CheckpointError."""
        return settings_in(self.config.path, self.config.fields)

    @cached_property
    def identity(self) -> str:
        """A text that only the same model has."""
        fields = json.dumps(self.config.fields, sort_keys=True, default=repr)
        stats = [(file.name, file.stat().st_mtime_ns) for file in self.weight_files]
        return f"{self.config.path}\n{fields}\n{stats}"

    @cached_property
    def weight_files(self) -> list[Path]:
        """The safetensors files beside config.json, whose headers tell of a model of no known
        class."""
        return [] if self.folder is None else sorted(self.folder.glob("*.safetensors"))

    @property
    def width(self) -> int:
        """Bytes of a weight that is not quantized."""
        return 4 if self.dtype in ("float32", "F32") else 2

    @property
    def dtype(self) -> str:
        """The precision of the weights, as config.json names it; empty where it does not."""
        text = self.config.text().fields
        return str(text.get("dtype") or text.get("torch_dtype") or "")
