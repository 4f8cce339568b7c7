"""A request, and where and how it is carried out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from qpipe.recipe.request import Request

Notify = Callable[[str], None]
"""Takes what a user should know though nothing is wrong, a sentence at a time."""


def ignore(note: str) -> None:
    """Take a note and do nothing with it."""


@dataclass(frozen=True)
class Context:
    """A request with the folders of its store and its runs.

    ``keep_going`` is False where the recipe decides whether a run goes on after a failure.
    ``again`` are the stages that are made again though they are in the store.
    """

    request: Request
    store: Path
    runs: Path
    keep_going: bool = False
    again: tuple[str, ...] = ()
    notify: Notify = ignore
