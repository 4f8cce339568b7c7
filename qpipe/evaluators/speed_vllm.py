"""Tokens a second of a checkpoint in vLLM, beside the reference's in the same run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from qpipe.core.graph import Resources
from qpipe.core.key import Json
from qpipe.evaluators.common.backends import require_memory
from qpipe.evaluators.common.computing import checkpoint_memory
from qpipe.evaluators.common.parameters import NoKvParams
from qpipe.evaluators.common.vllm import Vllm, refuse
from qpipe.evaluators.common.vllm_environment import environment, fingerprint
from qpipe.evaluators.speed import CommonSpeedParams, SpeedEvaluator
from qpipe.machine.identity import identity
from qpipe.stages.base import Order, ParamsModel
from qpipe.stages.device import computes_on

if TYPE_CHECKING:
    from qpipe.evaluators.speed_rounds.rounds import SpeedTarget


class VllmSpeedParams(CommonSpeedParams, NoKvParams):
    """For checkpoint folders, by vLLM."""

    TORCH = False

    backend: Literal["vllm"] = Field(
        "vllm", description="What computes: vLLM, in an environment of its own."
    )
    tool: Literal["auto", "in-process"] = "auto"


class VllmSpeed(SpeedEvaluator):
    """Checkpoint folders, by vLLM: its scheduler, its KV cache and its kernels."""

    Params: ClassVar[ParamsModel] = VllmSpeedParams
    accepts: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "model": Vllm.containers,
        "reference": Vllm.containers,
    }

    @classmethod
    def fingerprint(cls, params: VllmSpeedParams) -> Mapping[str, Json]:
        """The environment, and the machine."""
        known = fingerprint(environment(computes_on(params)))
        return {**known, "machine": identity(), "threads": params.all_threads}

    @classmethod
    def resources(cls, params: Any, *, cores: int) -> Resources:
        """All cores, and a GPU if that is the device; two processes with vLLM."""
        known = Vllm.resources(cores=cores)
        return Resources(
            cpus=cores,
            memory=2 * known.memory,
            gpus=params.gpus,
            memory_per_input_byte=known.memory_per_input_byte,
        )

    @classmethod
    def check(cls) -> str | None:
        """vLLM's environment."""
        return Vllm.check()

    @classmethod
    def refuse(cls, params: VllmSpeedParams, order: Order) -> None:
        """Raises CheckpointError for what vLLM does not load."""
        refuse(params, order)

    def tool(self, params: VllmSpeedParams) -> str:
        """vllm."""
        return "vllm"

    def subject(self, params: VllmSpeedParams, folder: Path) -> SpeedTarget:
        """The checkpoint in the folder."""
        from qpipe.evaluators.speed_rounds.vllm import VllmTarget

        require_memory(checkpoint_memory(folder), name="the checkpoint")
        return VllmTarget(folder, params.settings, environment(computes_on(params)))
