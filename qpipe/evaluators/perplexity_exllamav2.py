"""Perplexity of what exllamav2 loads, EXL2 first of all, by exllamav2 in its own environment.

It is given token ids, and gives back the negative log-likelihood of each that is scored.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from qpipe.core.graph import Resources
from qpipe.core.key import Json
from qpipe.environments.shipped import EXLLAMAV2, exllamav2_compiler_problem
from qpipe.errors import DataError
from qpipe.evaluators.common.parameters import NoKvParams
from qpipe.evaluators.text.description import (
    about,
    measurement,
    scores_of,
    sums_of,
    write_measured,
)
from qpipe.machine import gpus
from qpipe.results.measurement import Measurement
from qpipe.stages.base import CHECKPOINT, EXL2, ParamsModel, Work
from qpipe.stages.device import CUDA
from qpipe.stages.evaluator import Evaluator

if TYPE_CHECKING:
    from qpipe.evaluators.text.interfaces import Nll

_TOOL = "exllamav2"
_ALONE = (
    "exllamav2 works only on an NVIDIA GPU: evaluate=none leaves the measurement out, and of other "
    "formats than EXL2 evaluate.backend=auto measures anywhere"
)


class ExllamaPerplexityParams(NoKvParams):
    """The stage in role ``tokens`` says what is measured."""

    TORCH = False
    DEVICES = (CUDA,)
    ALONE = _ALONE

    metric: Literal["perplexity"] = "perplexity"
    backend: Literal["exllamav2"] = Field(
        "exllamav2", description="What computes: exllamav2, in half precision on an NVIDIA GPU."
    )


class ExllamaPerplexity(Evaluator):
    """Perplexity by exllamav2, in half precision: of EXL2, and with ``backend`` of a checkpoint in
    any format that it loads, such as the reference, so that a table is of one arithmetic."""

    version = 1
    roles: ClassVar[tuple[str, ...]] = ("model", "tokens")
    accepts: ClassVar[Mapping[str, tuple[str, ...]]] = {"model": (EXL2, CHECKPOINT)}
    Params: ClassVar[ParamsModel] = ExllamaPerplexityParams

    @classmethod
    def fingerprint(cls, params: ExllamaPerplexityParams) -> Mapping[str, Json]:
        """The environment's."""
        return EXLLAMAV2.fingerprint(_TOOL)

    @classmethod
    def resources(cls, params: ExllamaPerplexityParams, *, cores: int) -> Resources:
        """Resources: the model goes to the GPU file by file."""
        return Resources(
            cpus=min(cores, 2),
            memory=4 << 30,
            gpus=params.gpus,
            memory_per_input_byte=0.5,
            sized_by="model",
        )

    @classmethod
    def check(cls) -> str | None:
        """Return the problem (no GPU, no environment, no nvcc), or None."""
        if why := gpus.problem():
            return f"{why}; {_ALONE}"
        return EXLLAMAV2.problem() or exllamav2_compiler_problem()

    def run(self, params: ExllamaPerplexityParams, work: Work) -> Measurement:
        """Raises DataError (logits that are no numbers, tokens of another model) and what
        `qpipe.environments.call` does."""
        from qpipe.evaluators.text.windows import load

        tokenized = load(work.inputs["tokens"])
        started = time.perf_counter()
        nll, result = _measured(work)
        described = about(tokenized, _Exllama.of(result))
        scores = [scores_of(tokenized, nll)]
        write_measured(work.out, described, scores)
        sums_of(tokenized, nll).write(work.out)
        seconds = time.perf_counter() - started
        return measurement(described, scores, seconds, result["tokens_per_second"])


def _measured(work: Work) -> tuple[Nll, dict[str, Any]]:
    """The nll of each scored token, and what else the script tells."""
    import numpy as np

    from qpipe.environments.call import Call, call
    from qpipe.packed import transformers4_config

    with (
        transformers4_config.view(work.inputs["model"]) as model,
        TemporaryDirectory(prefix="qpipe-") as name,
    ):
        request = Call(
            {"do": "nll"},
            {"model": model, "tokens": work.inputs["tokens"]},
            Path(name),
            work.threads,
            work.progress,
            device=CUDA,
            note=work.note,
            tools=(_TOOL, "torch"),
        )
        result = call(EXLLAMAV2, request)
        nll = np.load(Path(name) / "nll.npy")
    bad = np.flatnonzero(~np.isfinite(nll))
    if len(bad):
        raise DataError(
            f"exllamav2 gave no number for {len(bad)} of {len(nll)} tokens, the first at "
            f"{bad[0]}: the model is damaged, or overflows half precision; quantize again, with "
            "more bits"
        )
    return nll, result


@dataclass(frozen=True)
class _Exllama:
    """See `qpipe.evaluators.text.description.MeasuringTool`."""

    version: str
    n_ctx_train: int | None
    name: str = _TOOL
    remarks: Sequence[str] = ()

    @classmethod
    def of(cls, result: Mapping[str, Any]) -> _Exllama:
        """Return it as its script tells of itself."""
        tools = result["tools"]
        version = f"{tools[_TOOL]} (torch {tools['torch']}, float16, {CUDA})"
        return cls(version, result["n_ctx_train"])
