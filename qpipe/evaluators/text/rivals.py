"""Levels of one model that were measured on the same windows, as the larger ones are given them.

Files: ``levels.json``, what each level is, and ``sums.npy``, float64 [levels, windows, 2]. Only
levels that no other one beats in both size and KL divergence are kept, smallest first.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qpipe.core.key import Json

if TYPE_CHECKING:
    from qpipe.evaluators.text.interfaces import Values

# The roles of what levels are put together from, and of what a measurement is given of them.
MEASURED, MODEL, RIVALS = "measured", "model", "rivals"
# In the artifact of a measurement: the sum over the tokens of each window of the text, [windows,
# 2]: of the least and the most that KL divergence can be there (the same, unless the reference is
# stored in part), NaN for windows that were not taken.
SUMS = "sums.npy"
_ABOUT = "levels.json"


@dataclass(frozen=True)
class MeasuredLevel:
    """A level as it was measured: its content, what reports call it, bytes, nats a token."""

    digest: str
    format: str
    size_bytes: int
    kld: float
    sums: Values

    @property
    def about(self) -> dict[str, Json]:
        """All but the sums."""
        return {
            "digest": self.digest,
            "format": self.format,
            "size_bytes": self.size_bytes,
            "kld": self.kld,
        }


def load(folder: Path) -> list[MeasuredLevel]:
    """The levels in an artifact."""
    import numpy as np

    sums = np.load(folder / SUMS)
    about = json.loads((folder / _ABOUT).read_bytes())
    return [MeasuredLevel(**fields, sums=own) for fields, own in zip(about, sums, strict=True)]


def save(folder: Path, levels: Sequence[MeasuredLevel]) -> None:
    """Write the files."""
    import numpy as np

    np.save(folder / SUMS, np.array([level.sums for level in levels], "<f8"))
    (folder / _ABOUT).write_text(json.dumps([level.about for level in levels], indent=1))


def unbeaten(levels: Iterable[MeasuredLevel]) -> list[MeasuredLevel]:
    """Levels that no other one beats in both size and KL divergence, smallest first."""
    unbeaten_levels: list[MeasuredLevel] = []
    for level in sorted(levels, key=lambda level: (level.size_bytes, level.kld)):
        if not unbeaten_levels or level.kld < unbeaten_levels[-1].kld:
            unbeaten_levels.append(level)
    return unbeaten_levels


def best(levels: Sequence[MeasuredLevel], *, size: int) -> MeasuredLevel | None:
    """The best of unbeaten levels that is no larger than ``size`` bytes, None if there is none."""
    return next((level for level in reversed(levels) if level.size_bytes <= size), None)
