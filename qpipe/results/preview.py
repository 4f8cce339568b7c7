"""What a stage would make, told before it is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Preview:
    """A forecast of what a stage would make: its facts, as `Stage.run` gives them, and of a model
    the type of each tensor and the number of logits a token.

    ``at_most``: sizes and counts are upper bounds. ``about``: they are estimates, and types are
    open.
    """

    facts: Mapping[str, Any]
    tensors: Mapping[str, str]
    n_vocab: int | None = field(default=None, kw_only=True)
    at_most: bool = field(default=False, kw_only=True)
    about: bool = field(default=False, kw_only=True)
