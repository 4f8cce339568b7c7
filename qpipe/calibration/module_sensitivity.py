"""module_sensitivity: what the modules of a checkpoint lose in each number of bits and size of
groups, measured once for every budget."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from qpipe.calibration.sensitivity import facts_of
from qpipe.core.graph import Resources
from qpipe.core.key import Json
from qpipe.errors import RecipeError
from qpipe.hf.modules import MODULES
from qpipe.stages import base
from qpipe.support import extras

_SIZES = (-1, 16, 32, 64, 128, 256, 512, 1024)


def _distinct(values: list[int]) -> list[int]:
    if not values or len({*values}) < len(values):
        raise ValueError("give one or more, each once")
    return sorted(values)


def _sizes(values: list[int]) -> list[int]:
    if unknown := [size for size in values if size not in _SIZES]:
        raise ValueError(f"{unknown[0]} is no size of groups; there are {_SIZES}")
    return _distinct(values)


class ModuleSensitivityParams(base.Params):
    """The forms that a mix may choose from, and how much is measured."""

    bits: Annotated[list[Literal[2, 3, 4, 8]], AfterValidator(_distinct)] = Field(
        default=[2, 3, 4, 8], description="Bits to choose from."
    )
    group_sizes: Annotated[list[int], AfterValidator(_sizes)] = Field(
        default=[32, 64, 128],
        description=(
            "Sizes of groups to choose from, -1 the whole row, which is taken too where rows are "
            "no multiple of any of them."
        ),
    )
    sym: bool = Field(True, description="false: with zero points.")
    levels: float = Field(
        8.0,
        gt=0,
        description=(
            "How much is measured, in such levels: all windows of the calibration, so many times."
        ),
    )
    anchors: int = Field(
        2,
        ge=1,
        description=(
            "In how many forms each module is measured; its losses in the others follow from these "
            "and from its errors."
        ),
    )
    seed: int = Field(0, ge=0, description="Shuffles the windows.")


class ModuleSensitivityStage(base.Stage):
    """The losses by transformers, in float32, of modules rounded to the nearest.

    Those that runtimes compute as one, such as the projections of an attention, have one form.
    """

    kind = "module_sensitivity"
    version = 1
    roles = ("model", "calibration")
    accepts: ClassVar[Mapping[str, tuple[str, ...]]] = {"model": (base.CHECKPOINT,)}
    unread: ClassVar[Mapping[str, tuple[str, ...]]] = {"model": base.DOCUMENTS}
    Params = ModuleSensitivityParams
    imports = MODULES

    @classmethod
    def fingerprint(cls, params: ModuleSensitivityParams) -> Mapping[str, Json]:
        """The packages that compute."""
        tools = {name: base.installed(name) for name in ("torch", "transformers")}
        return {"name": "qpipe.module_sensitivity", **tools}

    @classmethod
    def resources(cls, params: ModuleSensitivityParams, *, cores: int) -> Resources:
        """All cores; the model in float32, and a copy of the modules that are rounded."""
        return Resources(cpus=cores, memory=2 << 30, memory_per_input_byte=4.0)

    @classmethod
    def check(cls) -> str | None:
        """Return the problem, or None if torch and transformers are installed."""
        missing = [n for n in ("torch", "transformers") if base.installed(n) == "missing"]
        return f"{missing[0]} is not installed: {extras.command('hf')}" if missing else None

    @classmethod
    def refuse(cls, params: ModuleSensitivityParams, order: base.Order) -> None:
        """Raises RecipeError for a model that is quantized already."""
        from qpipe.hf.quantized import read_object, read_settings

        folder = order.inputs.get("model") or getattr(order.configs.get("model"), "parent", None)
        if folder is None:
            return
        settings = read_settings(folder, read_object(folder / "config.json"))
        if settings is not None:
            raise RecipeError(
                f"quantize.target: the model is quantized already ({settings.words}), and what it "
                "loses beside itself says little; give the checkpoint before quantization"
            )

    def run(self, params: ModuleSensitivityParams, work: base.Work) -> Mapping[str, Json]:
        """Raises CheckpointError (the model), DataError (too little text), RecipeError for modules
        that transformers does not have."""
        from qpipe.calibration.text.samples import token_ids
        from qpipe.mix.measuring import Effort
        from qpipe.mix.module_measuring import Candidates, measure
        from qpipe.mix.module_swaps import windows_of
        from qpipe.packed.matrices import quantizable

        self.refuse(params, work)
        tokens = windows_of(token_ids(work.inputs["calibration"]))
        facts = work.origins.get("calibration", {}).get("facts")
        text = facts.get("text") if isinstance(facts, Mapping) else None
        with TemporaryDirectory(prefix="sensitivity-", dir=work.out.parent) as folder:
            sensitivity = measure(
                work.inputs["model"],
                quantizable(work.inputs["model"]),
                tokens,
                Candidates(params.bits, params.group_sizes, params.sym),
                Effort(len(tokens), params.levels, params.anchors),
                threads=work.threads,
                folder=Path(folder),
                text=str(text or "the calibration"),
                seed=params.seed,
                progress=lambda done, total: work.progress(done, total, "windows"),
            )
        sensitivity.save(work.out)
        return facts_of(sensitivity)
