"""evaluate: what every evaluator has in common; they are the files of qpipe/evaluators/."""

from __future__ import annotations

import abc
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from qpipe.core.key import Json
from qpipe.core.layout import MANIFEST
from qpipe.errors import DataError
from qpipe.results.measurement import Measurement
from qpipe.stages import base

RESULT = "result.json"


class EvaluatorParams(base.Params):
    """Base of the evaluators' parameters: subclasses give ``metric`` its one value as default."""

    metric: str = Field(description="What is measured; `evaluate=METRIC` chooses it.")


class Evaluator(base.Stage):
    """A measurement of the model in role ``model``.

    Its artifact holds result.json: what was measured and how, without timings, so that the same
    measurement has the same bytes.
    """

    kind: ClassVar[str] = "evaluate"
    roles: ClassVar[tuple[str, ...]] = ("model",)
    unread: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "model": base.DOCUMENTS,
        "reference": base.DOCUMENTS,
    }

    @abc.abstractmethod
    def run(self, params: Any, work: base.Work) -> Measurement:
        """Fill ``work.out``; what was measured, each `Score` of which declares itself."""


def write_result(folder: Path, result: Mapping[str, Json]) -> None:
    """Write an evaluator's result.json."""
    (folder / RESULT).write_text(json.dumps(result, indent=1, sort_keys=True, allow_nan=False))


def only_file(folder: Path, *, suffix: str = "") -> Path:
    """The one file (with this suffix) in an input artifact. Raises DataError for none or several:
    a folder was given where a file is needed."""
    files = [p for p in folder.iterdir() if p.name != MANIFEST and p.name.endswith(suffix)]
    if len(files) != 1:
        raise DataError(
            f"{folder}: is a folder of {len(files)} files{suffix and f' *{suffix}'}, and one file "
            "is needed: name that"
        )
    return files[0]
