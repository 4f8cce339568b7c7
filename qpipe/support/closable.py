"""Objects that hold a resource, which is released on leaving ``with``."""

from __future__ import annotations

import abc
from typing import TypeVar

_C = TypeVar("_C", bound="Closable")


class Closable(abc.ABC):
    """Base of classes with such objects."""

    @abc.abstractmethod
    def close(self) -> None:
        """Release it."""

    def __enter__(self: _C) -> _C:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()
