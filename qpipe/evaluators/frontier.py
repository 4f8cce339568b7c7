"""frontier: of the levels of a sweep measured so far, those worth comparing a larger one with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import ClassVar

from qpipe.core.key import Json
from qpipe.evaluators.text.rivals import (
    MEASURED,
    MODEL,
    RIVALS,
    SUMS,
    MeasuredLevel,
    load,
    save,
    unbeaten,
)
from qpipe.stages import base
from qpipe.stages.evaluator import RESULT


class Frontier(base.Stage):
    """The levels in role ``rivals`` and the one that was ``measured``, without those beaten.

    One that was stopped as dominated adds nothing, so what depends on this is not measured again.
    """

    kind = "frontier"
    version = 1
    roles: ClassVar[tuple[str, ...]] = (MEASURED, MODEL)
    optional_roles: ClassVar[tuple[str, ...]] = (RIVALS,)
    Params: ClassVar[base.ParamsModel] = base.Params

    def run(self, params: base.Params, work: base.Work) -> Mapping[str, Json]:
        """Fill the folder as `qpipe.evaluators.text.rivals` says."""
        levels = load(work.inputs[RIVALS]) if RIVALS in work.inputs else []
        frontier = unbeaten([*levels, *_measured(work)])
        save(work.out, frontier)
        return {"levels": [level.format for level in frontier]}


def _measured(work: base.Work) -> list[MeasuredLevel]:
    """The level that was measured, none if that failed or ended early."""
    import numpy as np

    if MEASURED not in work.inputs:
        return []
    result = json.loads((work.inputs[MEASURED] / RESULT).read_bytes())
    if "dominated_by" in result:
        return []
    origin = work.origins[MODEL]
    sums = np.load(work.inputs[MEASURED] / SUMS)
    return [
        MeasuredLevel(
            str(origin["digest"]), *name_and_size(origin), kld=float(result["kld"]), sums=sums
        )
    ]


def name_and_size(origin: Mapping[str, Json]) -> tuple[str, int]:
    """A model's name in reports, and its bytes; ``origin`` is `Manifest.origin`."""
    facts = origin["facts"]
    assert isinstance(facts, Mapping), origin
    size = facts["size_bytes"]
    assert isinstance(size, int), facts
    return str(facts["format"]), size
