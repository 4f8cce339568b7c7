"""A recipe's section ``quantize``, field by field, with the defaults of recipes/quantize/."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qpipe.errors import RecipeError, nearest


@dataclass(frozen=True)
class Settings:
    """The fields that a recipe sets; null is as good as none."""

    fields: Mapping[str, Any]

    @property
    def method(self) -> str:
        """``method``, or ``none`` of a section that has ``via`` or ``dtype`` alone.

        Raises RecipeError where there is neither.
        """
        method = self.fields.get("method")
        if method is None and not {"via", "dtype"}.isdisjoint(self.fields):
            return "none"
        if not isinstance(method, str):
            raise self.bad("method", "the name of a method, such as gguf or gptq")
        return method

    def require_known(self, names: frozenset[str]) -> None:
        """Raise RecipeError for a field that the method has not."""
        for name, value in self.fields.items():
            if name not in names and value is not None:
                hint = nearest(name, names)
                raise RecipeError(f"quantize.{name}: {self.method} has no such field; {hint}")

    def text(self, name: str, default: str, *, choices: tuple[str, ...] = ()) -> str:
        """A text, in small letters where it is one of ``choices``. Raises RecipeError."""
        value = self._get(name, default)
        if not isinstance(value, str):
            raise self.bad(name, "a text")
        if choices and value.lower() not in choices:
            raise self.bad(name, f"one of {', '.join(choices)}; {nearest(value.lower(), choices)}")
        return value.lower() if choices else value

    def flag(self, name: str, default: bool = False) -> bool:
        """True or false. Raises RecipeError."""
        value = self._get(name, default)
        if not isinstance(value, bool):
            raise self.bad(name, "true or false")
        return value

    def number(self, name: str, default: int, *others: str, choices: tuple[int, ...] = ()) -> int:
        """A whole number, under its name or one of ``others``. Raises RecipeError."""
        said = next((each for each in (*others, name) if self.fields.get(each) is not None), name)
        value = self._get(said, default)
        if type(value) is not int or (choices and value not in choices):
            raise self.bad(
                said, f"one of {', '.join(map(str, choices))}" if choices else "a number"
            )
        return value

    def bits(self, default: float, *others: str) -> float:
        """A number of bits that need not be whole. Raises RecipeError."""
        said = next((n for n in (*others, "bits") if self.fields.get(n) is not None), "bits")
        value = self._get(said, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 16:
            raise self.bad(said, "a number of bits")
        return float(value)

    def bad(self, name: str, expected: str) -> RecipeError:
        """The error for a field that should have been ``expected``."""
        shown = repr(self.fields[name]) if name in self.fields else "missing"
        return RecipeError(f"quantize.{name} is {shown}, not {expected}")

    def _get(self, name: str, default: Any) -> Any:
        value = self.fields.get(name)
        return default if value is None else value
