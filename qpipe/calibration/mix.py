"""mix: the smallest mix of types whose file keeps a KL divergence, by files that are measured."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from qpipe.calibration.sensitivity import WindowsParams, windows_of
from qpipe.core.graph import Resources
from qpipe.core.key import Json
from qpipe.stages import base
from qpipe.stages.evaluator import only_file


def _pairs(value: object) -> object:
    """Rules as pairs: their order counts."""
    if isinstance(value, Mapping):
        return [list(each) for each in value.items()]
    return [] if value is None else value


class FittedMixParams(WindowsParams):
    """Windows of the calibration text, a bound, and what of the types a recipe itself says."""

    kld: float = Field(gt=0, description="Mean KL divergence of the file, at most, in nats.")
    tensor_types: Annotated[list[list[str]], BeforeValidator(_pairs)] = Field(
        default_factory=list, description="As quantize.tensor_types."
    )
    output_tensor_type: str | None = Field(
        None, description="As quantize.output_tensor_type; null too."
    )
    token_embedding_type: str | None = Field(
        None, description="As quantize.token_embedding_type; null too."
    )
    scales: Literal["auto", "ggml", "lattice"] = Field("auto", description="As quantize.scales.")
    tries: int = Field(6, ge=1, description="Files that are written and measured, at most.")


class FittedMixStage(base.Stage):
    """Writes files of mixes and measures them by llama.cpp, until one is near the bound.

    What a file keeps is the upper end of its 95 % interval, on windows that no loss was measured
    on.
    """

    kind = "mix"
    version = 1
    roles = ("model", "sensitivity")
    optional_roles = ("imatrix",)
    Params = FittedMixParams

    @classmethod
    def fingerprint(cls, params: FittedMixParams) -> Mapping[str, Json]:
        """The packages that compute and quantize."""
        tools = {name: base.installed(name) for name in ("xllamacpp", "numba", "gguf")}
        return {"name": "qpipe.mix", **tools}

    @classmethod
    def resources(cls, params: FittedMixParams, *, cores: int) -> Resources:
        """All cores; the model, and a file that is made of it."""
        return Resources(cpus=cores, memory=2 << 30, memory_per_input_byte=2.0)

    @classmethod
    def check(cls) -> str | None:
        """Return the problem, or None if the wheel is the version whose C structs are known."""
        from qpipe.llamacpp.library import problem

        return problem()

    def run(self, params: FittedMixParams, work: base.Work) -> Mapping[str, Json]:
        """Raises CheckpointError (the model), DataError (the text), RecipeError for a bound that no
        file keeps, or the smallest keeps with room to spare."""
        from qpipe.gguf.mixture import TypeRequest
        from qpipe.gguf.quantize import prepare
        from qpipe.mix.fitting import fit_file, held_out
        from qpipe.mix.sensitivity import Sensitivity

        model, text = (
            only_file(work.inputs["model"], suffix=".gguf"),
            only_file(work.inputs["text"]),
        )
        matrix = only_file(work.inputs["imatrix"]) if "imatrix" in work.inputs else None
        request = TypeRequest.of(
            "Q8_0",
            tensor_types={rule[0]: rule[1] for rule in params.tensor_types},
            output_tensor_type=params.output_tensor_type,
            token_embedding_type=params.token_embedding_type,
        )
        tokens = windows_of(model, text, params)
        with TemporaryDirectory(prefix="mix-", dir=work.out.parent) as folder:
            fitted = fit_file(
                model,
                Sensitivity.load(work.inputs["sensitivity"]),
                params.kld,
                held_out(tokens, samples=params.samples, seed=params.seed),
                request=request,
                planned=partial(prepare, model, imatrix=matrix, scales=params.scales),
                threads=work.threads,
                folder=Path(folder),
                most=params.tries,
                progress=lambda done, total: work.progress(done, total, "files"),
            )
        fitted.save(work.out)
        facts: dict[str, Any] = {"text": text.name, "bound": fitted.bound, "kld": fitted.kld}
        return facts | {"half": fitted.half, "files": len(fitted.tries)}
