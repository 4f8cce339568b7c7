"""Losses of matrices by kind and layer, as the JSON that sensitivity.js reads."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from qpipe.report.html.layer_grid import layer_grid
from qpipe.report.text import printable
from qpipe.results.losses import TensorLoss

_FOUR_BITS = re.compile(r"\D*4(?!\d)")


def sensitivity_grid(name: str, tensors: Sequence[TensorLoss]) -> dict[str, Any] | None:
    """Return ``{"name", "types", "first", "layers", "kinds"}``, None where no loss is known.

    ``types`` are those that most matrices lose something in, ``first`` the one among them that is
    shown first; ``layers`` as in `tensor_grid`; each of ``kinds`` has its name, and by type the
    losses of its layers, None where there is none.
    """
    counts = Counter(kind for tensor in tensors for kind, kld in tensor.losses.items() if kld > 0)
    if not counts:
        return None
    most = max(counts.values())
    types = [kind for kind, count in counts.items() if 2 * count >= most]
    layers, kinds = layer_grid(tensors)
    return {
        "name": printable(name),
        "types": [printable(kind) for kind in types],
        "first": next((at for at, kind in enumerate(types) if _FOUR_BITS.match(kind)), 0),
        "layers": layers,
        "kinds": [
            {
                "name": printable(kind),
                "losses": [
                    [None if each is None else each.losses.get(type_) for each in of]
                    for type_ in types
                ],
            }
            for kind, of in kinds.items()
        ],
    }
