"""config.json of a Hugging Face checkpoint, field by field, each checked when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qpipe import errors
from qpipe.gguf import jsonfile


@dataclass(frozen=True)
class Config:
    """The fields of config.json; a missing or unusable one is a `CheckpointError` naming it."""

    path: Path
    fields: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Config:
        """The config of the checkpoint in ``folder``."""
        path = folder / "config.json"
        return cls(path, jsonfile.load(path))

    def integer(self, field: str, default: int | None = None) -> int:
        """A positive integer."""
        value = self._get(field, default)
        if type(value) is not int or value < 1:
            raise self.bad(field, "a positive integer")
        return value

    def number(self, field: str, default: float | None = None) -> float:
        """A finite number."""
        value = self._get(field, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 3.4e38:
            raise self.bad(field, "a number")
        return float(value)

    def flag(self, field: str, default: bool) -> bool:
        """A boolean."""
        value = self._get(field, default)
        if not isinstance(value, bool):
            raise self.bad(field, "true or false")
        return value

    def section(self, field: str) -> Config:
        """An object inside the config; empty where it is missing or null."""
        value = self.fields.get(field) or {}
        if not isinstance(value, dict):
            raise self.bad(field, "an object")
        return Config(self.path, value)

    def has(self, field: str) -> bool:
        """Whether the field is there and not null."""
        return self.fields.get(field) is not None

    def bad(self, field: str, wanted: str) -> errors.CheckpointError:
        """The error for a field that should have been ``wanted``."""
        shown = repr(self.fields[field])[:80] if field in self.fields else "missing"
        return errors.CheckpointError(
            f"{self.path}: field {field!r} is {shown}, not {wanted}; "
            "correct it or download the checkpoint again"
        )

    def _get(self, field: str, default: Any) -> Any:
        value = self.fields.get(field)
        return default if value is None else value
