"""EXL2 by exllamav2 0.3.2, in an environment of its own; CUDA alone.

A measurement says what each module loses at each of its possible formats. It takes most of the
time and hangs on neither the bits nor the head's, so it is an artifact that a sweep shares.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from qpipe.calibration.text.samples import token_ids
from qpipe.core.graph import Resources
from qpipe.core.key import Json
from qpipe.engines.common import checkpoint_engine, checkpoint_files, exl2_target
from qpipe.engines.common.isolated_engine import IsolatedEngine
from qpipe.engines.common.methods import Exl2Params
from qpipe.environments.shipped import EXLLAMAV2, exllamav2_compiler_problem
from qpipe.errors import DataError
from qpipe.results.model import ModelFacts
from qpipe.stages import base
from qpipe.stages.device import CUDA

MEASUREMENT = "measurement.json"

_INSTEAD = (
    "there is no EXL2 without one, and quantize=gptq (engine gptqmodel) or quantize=gguf make "
    "models of like size anywhere"
)


class MeasureParams(base.Params):
    """Nothing but the tool: the rest is the model and the calibration."""

    engine: Literal["exllamav2"] = Field(
        "exllamav2", description="The tool that measures what each module loses."
    )


class ExllamaParams(Exl2Params):
    """No rules for single modules: the measurement deals out the bits."""

    DEVICES = (CUDA,)
    ALONE = f"exllamav2 works only on an NVIDIA GPU; {_INSTEAD}"

    engine: Literal["exllamav2"] = "exllamav2"

    @field_validator("measurement")
    @classmethod
    def _named(cls, value: str | None) -> str | None:
        if value is not None and not value.endswith(".json"):
            raise ValueError(f"{value}: a measurement is exllamav2's measurement.json")
        return value


class _Exllama(IsolatedEngine):
    """Common base of measuring and quantizing."""

    version = 1
    roles = ("model", "calibration")
    accepts: ClassVar[Mapping[str, tuple[str, ...]]] = {"model": (base.CHECKPOINT,)}
    environment = EXLLAMAV2
    tool = "exllamav2"
    instead = _INSTEAD

    @classmethod
    def resources(cls, params: Any, *, cores: int) -> Resources:
        """A layer at a time on the GPU, the hidden states of all samples in memory."""
        return Resources(cpus=min(cores, 4), memory=8 << 30, gpus=1, memory_per_input_byte=0.5)

    @classmethod
    def check(cls) -> str | None:
        """Also whether nvcc is there, without which its CUDA code neither compiles nor loads."""
        return super().check() or exllamav2_compiler_problem()

    def _work(
        self, do: str, work: base.Work, wishes: Mapping[str, Json], measurement: Path | None
    ) -> dict[str, Any]:
        from qpipe.packed import transformers4_config

        samples = token_ids(work.inputs["calibration"])
        with transformers4_config.view(work.inputs["model"]) as folder:
            inputs = {"model": folder}
            if measurement is not None:
                inputs["measurement"] = measurement
            request = {"do": do, "samples": samples, **wishes}
            return self.call(request, work, inputs=inputs, device=CUDA)


class Exl2Measure(_Exllama):
    """Writes measurement.json."""

    kind: ClassVar[str] = "measure"
    Params = MeasureParams

    @classmethod
    def makes(cls, params: Any) -> None:  # type: ignore[override]
        """No model."""
        return

    def run(  # type: ignore[override]  # nor ModelFacts
        self, params: MeasureParams, work: base.Work
    ) -> Mapping[str, Json]:
        """Raises CheckpointError (the model), DataError (calibration)."""
        self.refuse(params, work)
        result = self._work("measure", work, {}, None)
        return {"calibration_tokens": result["tokens"], **self.told(result)}


class Exl2(_Exllama):
    """``measurement`` is given as a file, comes from a stage, or is made on the way."""

    version = 2  # 2: the weights' files are called as runtimes look for them
    optional_roles = ("measurement",)
    Params = ExllamaParams

    @classmethod
    def makes(cls, params: Any) -> str:
        """A folder that exllamav2 alone reads."""
        return base.EXL2

    def run(self, params: ExllamaParams, work: base.Work) -> ModelFacts:
        """Raises CheckpointError (the model), DataError (calibration, measurement)."""
        from qpipe.packed import exl2_files, transformers4_config

        self.refuse(params, work)
        source = work.inputs["model"]
        measurement = work.inputs.get("measurement")
        if measurement is not None and not (measurement / MEASUREMENT).is_file():
            raise DataError(f"quantize.measurement: the file must be named {MEASUREMENT}")
        fitted = exl2_target.fitted(params, source)
        wishes = {"bits": fitted.params.bits, "head_bits": params.head_bits}
        result = self._work("quantize", work, wishes, measurement)
        quantization = transformers4_config.quantization(work.out)
        exl2_files.settle(work.out)
        checkpoint_files.bring_along(source, work.out)
        # exllamav2 0.3.2 reads rope_theta, and not transformers 5's rope_parameters.
        transformers4_config.write_old_config(source, work.out, quantization, dtype="fp16")
        wish = checkpoint_engine.wish(
            self.tool, params, checkpoint_engine.read_target(params, work)
        )
        facts = checkpoint_engine.facts(work.out, source=source, wish=wish)
        notes = [*fitted.notes, *(facts.notes or ())]
        tokens = result["tokens"]
        return facts.adding(notes=notes or None, calibration_tokens=tokens, **self.told(result))

    @classmethod
    def refuse(cls, params: ExllamaParams, order: base.Order) -> None:
        """Raises RecipeError too for a target that no bits keep."""
        super().refuse(params, order)
        folder = order.inputs.get("model") or getattr(order.configs.get("model"), "parent", None)
        if folder is not None:
            exl2_target.fitted(params, folder)

    @classmethod
    def preview(cls, params: ExllamaParams, order: base.Order) -> base.Preview | None:
        """About the size, from config.json; with a target that of the most bits that keep it."""
        folder = order.inputs.get("model") or getattr(order.configs.get("model"), "parent", None)
        if params.target is None or folder is None:
            return super().preview(params, order)
        return exl2_target.preview(params, folder)
