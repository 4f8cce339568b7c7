"""What holds something that must be let go: closed on leaving ``with``."""

from __future__ import annotations

import abc
from typing import TypeVar

_C = TypeVar("_C", bound="Closing")


class Closing(abc.ABC):
    """Base of such classes."""

    @abc.abstractmethod
    def close(self) -> None:
        """Let it go."""

    def __enter__(self: _C) -> _C:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()
