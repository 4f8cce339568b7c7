"""config.json of a Hugging Face checkpoint, field by field, each checked when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qpipe import errors
from qpipe.gguf import jsonfile

# GGUF's integers are unsigned 32-bit numbers, llama.cpp's own signed ones.
MOST = 2**31 - 1
# What a 32-bit float holds.
_SMALLEST, _LARGEST = 1.1754944e-38, 3.4028234e38


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

    @property
    def model_class(self) -> str:
        """The first of ``architectures``, empty where there is none."""
        names = self.fields.get("architectures")
        return names[0] if isinstance(names, list) and names and isinstance(names[0], str) else ""

    def text(self) -> Config:
        """The config of the text model where that stands in ``text_config``, else this one.

        Whether its head is tied is said outside (transformers 5.17.0, tie_weights).
        """
        fields = {**self.fields, **self.section("text_config").fields}
        tied = "tie_word_embeddings"
        return Config(self.path, fields | {k: v for k, v in self.fields.items() if k == tied})

    def integer(
        self, field: str, default: int | None = None, *, least: int = 1, most: int = MOST
    ) -> int:
        """An integer of at least ``least``, a positive one, at most ``most``."""
        value = self._get(field, default)
        if type(value) is not int or not least <= value <= most:
            limit = "" if type(value) is not int or value < least else f" of at most {most}"
            raise self.bad(field, f"{'a positive' if least else 'a whole'} integer{limit}")
        return value

    def positive(self, field: str, default: float | None = None) -> float:
        """A positive number that a 32-bit float can hold."""
        value = self._get(field, default)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not _SMALLEST <= value <= _LARGEST:
            raise self.bad(field, "a positive number")
        return float(value)

    def flag(self, field: str, default: bool | None = None) -> bool:
        """A boolean."""
        value = self._get(field, default)
        if not isinstance(value, bool):
            raise self.bad(field, "true or false")
        return value

    def section(self, field: str) -> Config:
        """An object inside the config; empty where it is missing or null."""
        value = self.fields.get(field)
        if value is not None and not isinstance(value, dict):
            raise self.bad(field, "an object")
        return Config(self.path, value or {})

    def has(self, field: str) -> bool:
        """True if the field is there and not null."""
        return self.fields.get(field) is not None

    def bad(self, field: str, expected: str) -> errors.CheckpointError:
        """The error for a field that should have been ``expected``."""
        return errors.CheckpointError(
            f"{self.path}: field {field!r} is {self._shown(field)}, not {expected}; "
            "correct it or download the checkpoint again"
        )

    def unfit(self, field: str, why: str) -> errors.CheckpointError:
        """The error for a field that is right but has no place in GGUF; ``why`` ends with what
        helps."""
        return errors.CheckpointError(
            f"{self.path}: field {field!r} is {self._shown(field)}: {why}"
        )

    def _shown(self, field: str) -> str:
        return errors.quoted(self.fields[field]) if field in self.fields else "missing"

    def _get(self, field: str, default: Any) -> Any:
        value = self.fields.get(field)
        return default if value is None else value
