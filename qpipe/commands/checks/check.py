"""One finding of `qpipe doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Check:
    """A check of `qpipe doctor`: what it is called, its state, and what was found.

    ``state`` is ok; ``absent``, which something optional may be; or ``broken``, which stops the
    base. ``fix`` is the command or change that would make it work.
    """

    name: str
    state: Literal["ok", "absent", "broken"]
    found: str
    fix: str | None = None
