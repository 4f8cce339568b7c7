"""The values of the first windows of a text, as what goes on with more of them is given them.

File: ``values.npz``: ``windows``, int64, those that were taken; ``lengths``, the scored tokens of
each; ``values``, float64 [tokens, columns], in that order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qpipe.evaluators.text.interfaces import Values

BEGUN = "begun"
"""The role of a measurement of fewer windows."""
_VALUES = "values.npz"


def save(folder: Path, windows: Sequence[int], values: Sequence[Values]) -> None:
    """Write the file."""
    import numpy as np

    lengths = [len(part) for part in values]
    np.savez(folder / _VALUES, windows=windows, lengths=lengths, values=np.concatenate(values))


def load(folder: Path | None) -> Mapping[int, Values]:
    """The values by window in an artifact; nothing without one."""
    import numpy as np

    if folder is None:
        return {}
    with np.load(folder / _VALUES) as arrays:
        parts = np.split(arrays["values"], np.cumsum(arrays["lengths"])[:-1])
        return {int(window): part for window, part in zip(arrays["windows"], parts, strict=True)}
