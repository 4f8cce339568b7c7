"""GPTQ by AutoGPTQ 0.7.1, in an environment of its own: for results as its users had them.

It is deprecated, and works on CUDA alone; gptqmodel came of it and works anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import field_validator

from qpipe.calibration.text.samples import token_ids
from qpipe.core.graph import Resources
from qpipe.core.key import Json
from qpipe.engines.common import checkpoint_engine, checkpoint_files
from qpipe.engines.common.isolated_engine import ISOLATED, IsolatedEngine
from qpipe.engines.common.methods import GptqParams
from qpipe.environments.environment import Environment
from qpipe.results.model import ModelFacts
from qpipe.stages import base
from qpipe.stages.device import CUDA

# The parameters that its BaseQuantizeConfig has under the same names.
_SHARED = (
    "bits", "group_size", "damp_percent", "desc_act", "static_groups", "sym", "true_sequential"
)  # fmt: skip
_INSTEAD = "quantize.engine=gptqmodel does the same without one"


class AutoGptqParams(GptqParams):
    """No rules for single modules; the output matrix stays as it is."""

    DEVICES = (CUDA,)
    ALONE = f"auto-gptq works only on an NVIDIA GPU; {_INSTEAD}"

    engine: Literal["auto-gptq"] = "auto-gptq"

    @field_validator("lm_head")
    @classmethod
    def _stays(cls, lm_head: bool) -> bool:
        if lm_head:
            raise ValueError(
                "auto-gptq leaves the output matrix as it is: set quantize.lm_head to false, or "
                "quantize.engine to gptqmodel"
            )
        return lm_head


class AutoGptq(IsolatedEngine):
    """On one NVIDIA GPU."""

    version = 2  # 2: facts count the model's own weights alone
    roles = ("model", "calibration")
    accepts: ClassVar[Mapping[str, tuple[str, ...]]] = {"model": (base.CHECKPOINT,)}
    Params = AutoGptqParams
    environment = Environment(
        "auto-gptq", ISOLATED, built=("auto-gptq",), building={"BUILD_CUDA_EXT": "0"}
    )
    tool = "auto-gptq"
    instead = _INSTEAD

    @classmethod
    def resources(cls, params: AutoGptqParams, *, cores: int) -> Resources:
        """The model in half precision, and torch; layers go through the GPU one by one."""
        return Resources(cpus=min(cores, 4), memory=4 << 30, gpus=1, memory_per_input_byte=1.5)

    def run(self, params: AutoGptqParams, work: base.Work) -> ModelFacts:
        """Raises CheckpointError (the model), DataError (calibration)."""
        from qpipe.packed import transformers4_config

        self.refuse(params, work)
        source = work.inputs["model"]
        samples = token_ids(work.inputs["calibration"])
        with transformers4_config.view(source) as folder:
            request: dict[str, Json] = {
                "config": {name: getattr(params, name) for name in _SHARED},
                "samples": samples,
                "rope_theta": transformers4_config.theta(folder),
            }
            result = self.call(request, work, inputs={"model": folder}, device=CUDA)
        config = result.pop("config")
        checkpoint_files.bring_along(source, work.out)
        transformers4_config.write_config(source, work.out, config, dtype="fp16")
        (work.out / "quantize_config.json").write_text(json.dumps(config, indent=2))
        wish = checkpoint_engine.wish(
            self.tool, params, checkpoint_engine.read_target(params, work)
        )
        facts = checkpoint_engine.facts(work.out, source=source, wish=wish)
        return facts.adding(calibration_tokens=result["tokens"], **self.told(result))
