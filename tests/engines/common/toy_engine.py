"""An engine that fails at once, and says what it was given."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from qpipe.calibration.text.samples import token_ids
from qpipe.core.key import Json
from qpipe.engines.common.methods import RtnParams
from qpipe.errors import StageError
from qpipe.packed import first_layer
from qpipe.stages.base import Stage, Work


class TellsParams(RtnParams):
    RULES = ("bits", "group_size", "skip")

    engine: Literal["tells"] = "tells"


class Tells(Stage):
    kind = "tells"
    version = 1
    Params = TellsParams

    def run(self, params: TellsParams, work: Work) -> Mapping[str, Json]:
        samples = token_ids(work.inputs["calibration"])
        told: dict[str, Any] = {
            "layers": first_layer.count(work.inputs["model"]),
            "samples": len(samples),
            "tokens": sum(map(len, samples)),
            "rules": list(params.modules),
        }
        raise StageError(json.dumps(told))
