"""A metric of one's own: how far the weights of a quantized GGUF file are from the reference's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from qpipe.results import Measurement, Score
from qpipe.stages import base
from qpipe.stages.evaluator import Evaluator, EvaluatorParams, only_file, write_result


class WeightErrorParams(EvaluatorParams):
    """All parameters are part of the key."""

    metric: Literal["weight-error"] = Field("weight-error", description="What is measured: this.")


class WeightError(Evaluator):
    """The root of the mean squared error of all matrices, as a share of the reference's."""

    version = 1  # raise it when the same inputs give other figures
    roles: ClassVar[tuple[str, ...]] = ("model", "reference")
    accepts: ClassVar[Mapping[str, tuple[str, ...]]] = dict.fromkeys(roles, (base.GGUF,))
    Params = WeightErrorParams

    @classmethod
    def fingerprint(cls, params: WeightErrorParams) -> Mapping[str, Any]:
        """What computes the figures."""
        names = ("qpipe-weight-error", "gguf", "numpy")
        return {"name": "weight-error", **{name: base.installed(name) for name in names}}

    def run(self, params: WeightErrorParams, work: base.Work) -> Measurement:
        """Write result.json into ``work.out``, and return the measurement.

        A score declares its unit, its digits and which way is better: tables, CSV, JSON and HTML
        show it with no more said.
        """
        files = [only_file(work.inputs[role], suffix=".gguf") for role in self.roles]
        error = _relative_error(*files)
        write_result(work.out, {"weight_error": error})
        score = Score("weight_error", error, unit="%", better="lower", digits=3)
        return Measurement(protocol="weights-rms", scores=(score,))


def _relative_error(file: Path, reference: Path) -> float:
    """Percent, over all tensors of two or more dimensions that both files have."""
    import numpy as np
    from gguf import GGUFReader
    from gguf.quants import dequantize

    there = {tensor.name: tensor for tensor in GGUFReader(reference).tensors}
    error = total = 0.0
    for tensor in GGUFReader(file).tensors:
        if tensor.name in there and len(tensor.shape) > 1:
            other = there[tensor.name]
            ours, theirs = (dequantize(t.data, t.tensor_type) for t in (tensor, other))
            theirs = theirs.astype(np.float64).reshape(-1)
            error += float(((ours.reshape(-1) - theirs) ** 2).sum())
            total += float((theirs**2).sum())
    return 100 * (error / total) ** 0.5
