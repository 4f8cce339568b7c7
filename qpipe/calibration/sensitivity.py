"""sensitivity: what each tensor of a model loses in each type, measured once for every budget."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field

from qpipe.calibration.imatrix import calibration_text
from qpipe.calibration.text_params import TextParams
from qpipe.core.graph import Resources
from qpipe.core.key import Json
from qpipe.errors import DataError, RecipeError
from qpipe.results.losses import LOSSES
from qpipe.stages import base
from qpipe.stages.evaluator import only_file

if TYPE_CHECKING:
    from qpipe.evaluators.text.interfaces import Tokens
    from qpipe.mix.sensitivity import Sensitivity

# The types to choose from: those with superblocks, and for rows that do not fit them those without.
TYPES = ("Q2_K", "Q3_K", "IQ3_S", "IQ4_XS", "Q4_K", "Q5_K", "Q6_K", "Q8_0")
SMALL_BLOCKS = ("Q4_0", "IQ4_NL", "Q4_1", "Q5_0", "Q5_1")
OWN = ("F32", "F16", "BF16")  # of these only a tensor's own, which loses nothing
DEFAULTS = (*TYPES, *SMALL_BLOCKS, *OWN)


def _known(names: list[str]) -> list[str]:
    from qpipe.gguf import quantizers
    from qpipe.gguf.types import FLOATS, parse_type

    kinds = []
    for name in names:
        try:
            kind = parse_type(name, where="types")
        except RecipeError as error:
            raise ValueError(str(error)) from None
        if kind not in FLOATS and not quantizers.writes(kind):
            raise ValueError(f"types: {kind.name} is none that a matrix can be quantized to")
        kinds.append(kind.name)
    if len(kinds) < 2 or len({*kinds}) < len(kinds) or {*kinds} <= {*OWN}:
        raise ValueError(f"types: give two or more, each once, not {', '.join(OWN)} alone")
    return kinds


class WindowsParams(TextParams):
    """Windows of the calibration text."""

    text: base.SourceFile = Field(description="The text that losses are measured on.")
    imatrix: base.SourceFile | None = Field(
        None, description="The importance matrix that the model is quantized with. null: none."
    )
    n_ctx: int = Field(512, ge=16, description="Tokens of a window.")
    samples: int = Field(128, ge=16, description="Windows that a whole level would be measured on.")
    seed: int = Field(0, ge=0, description="Chooses the windows.")


class SensitivityParams(WindowsParams):
    """Windows of the calibration text, and the types that a mix may choose from."""

    levels: float = Field(
        8.0,
        gt=0,
        description=(
            "How much is measured, in such levels: a text of `samples` windows, so many times."
        ),
    )
    anchors: int = Field(
        3,
        ge=1,
        description=(
            "In how many types each tensor is measured; its losses in the others follow from these "
            "and from its errors."
        ),
    )
    types: Annotated[list[str], AfterValidator(_known)] | None = Field(
        None,
        description=(
            "The types to choose from. null: " + ", ".join((*TYPES, *SMALL_BLOCKS)) + ", and as it "
            "is. Of F32, F16 and BF16 only the one that a tensor has is among its choices."
        ),
    )


class SensitivityStage(base.Stage):
    """The losses by llama.cpp in the worker's own process, from a GGUF file that is not quantized.

    Made once: a mix for any budget is chosen from it.
    """

    kind = "sensitivity"
    version = 2
    roles = ("model",)
    optional_roles = ("imatrix",)
    Params = SensitivityParams

    @classmethod
    def fingerprint(cls, params: SensitivityParams) -> Mapping[str, Json]:
        """The packages that compute and quantize."""
        tools = {name: base.installed(name) for name in ("xllamacpp", "numba", "gguf")}
        return {"name": "qpipe.sensitivity", **tools}

    @classmethod
    def resources(cls, params: SensitivityParams, *, cores: int) -> Resources:
        """All cores; the model, and the largest tensor in each type."""
        return Resources(cpus=cores, memory=2 << 30, memory_per_input_byte=2.0)

    @classmethod
    def check(cls) -> str | None:
        """Return the problem, or None if the wheel is the version whose C structs are known."""
        from qpipe.llamacpp.library import problem

        return problem()

    def run(self, params: SensitivityParams, work: base.Work) -> Mapping[str, Json]:
        """Raises CheckpointError (the model), DataError (the text)."""
        from qpipe.gguf import imatrix as matrices
        from qpipe.gguf.types import GGMLType
        from qpipe.mix.measuring import Effort, measure

        model, text = (
            only_file(work.inputs["model"], suffix=".gguf"),
            only_file(work.inputs["text"]),
        )
        matrix = only_file(work.inputs["imatrix"]) if "imatrix" in work.inputs else None
        with TemporaryDirectory(prefix="sensitivity-", dir=work.out.parent) as folder:
            sensitivity = measure(
                model,
                windows_of(model, text, params),
                [GGMLType[name] for name in params.types or DEFAULTS],
                Effort(params.samples, params.levels, params.anchors),
                imatrix=None if matrix is None else matrices.read(matrix),
                threads=work.threads,
                folder=Path(folder),
                text=text.name,
                seed=params.seed,
                progress=lambda done, total: work.progress(done, total, "windows"),
            )
        sensitivity.save(work.out)
        return facts_of(sensitivity)


def windows_of(model: Path, text: Path, params: WindowsParams) -> Tokens:
    """Windows [n, n_ctx] of the text, no more than twice what a level has."""
    import numpy as np

    from qpipe.llamacpp.backend import LlamaCppTokenizer

    wanted = 2 * params.samples
    with LlamaCppTokenizer(model) as tokenizer:
        words = calibration_text(text, params, model, most=wanted * params.n_ctx)
        tokens = tokenizer.model.vocab.tokenize(words, parse_special=params.chat_template)
        count = min(len(tokens) // params.n_ctx, wanted)
        if not count:
            raise DataError(
                f"the calibration text {text.name} has {len(tokens)} tokens, and a window "
                f"{params.n_ctx}: give a longer text, or a smaller calibration.length"
            )
        windows = np.array(tokens[: count * params.n_ctx]).reshape(count, params.n_ctx)
        if tokenizer.bos is not None:
            windows[:, 0] = tokenizer.bos
    return windows


def facts_of(sensitivity: Sensitivity) -> dict[str, Json]:
    """The facts: how much was measured, and what of whole mixes."""
    losses = [one for tensor in sensitivity.tensors.values() for one in tensor.types.values()]
    return {
        "text": sensitivity.text,
        "tokens": sensitivity.tokens,
        "tensors": len(sensitivity.tensors),
        "losses": len(losses),
        "measured": sum(one.measured for one in losses),
        "ladder": [
            {"bits_per_weight": r.bits_per_weight, "expected": r.expected, "kld": r.kld}
            for r in sensitivity.rungs
        ],
        LOSSES: {**sensitivity.fact},
    }
