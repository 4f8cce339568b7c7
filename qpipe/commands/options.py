"""What the recipe verbs are told besides the recipe and its overrides."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """``store`` and ``runs`` are folders; the rest are the flags of the same name.

    ``keep_going`` is False where the command line leaves it to the recipe. ``format`` is how
    `qpipe graph` draws: text, dot or mermaid.
    """

    store: Path
    runs: Path
    json: bool = False
    keep_going: bool = False
    pin: bool = False
    quiet: bool = False
    format: str = "text"
