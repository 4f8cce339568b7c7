"""Scores in tasks of lm-eval of a checkpoint, by vLLM in its own environment."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, ClassVar, Literal

from pydantic import Field

from qpipe.core.graph import Resources
from qpipe.core.key import Json
from qpipe.evaluators.common.backends import on_device, require_memory
from qpipe.evaluators.common.computing import checkpoint_memory
from qpipe.evaluators.common.parameters import NoKvParams
from qpipe.evaluators.common.vllm import Vllm, refuse
from qpipe.evaluators.common.vllm_environment import environment, fingerprint
from qpipe.evaluators.tasks import CommonTasksParams, OpenedModel, TasksEvaluator
from qpipe.stages.base import Order, ParamsModel, Work
from qpipe.stages.device import computes_on


class VllmTasksParams(CommonTasksParams, NoKvParams):
    """For checkpoint folders, by vLLM."""

    TORCH = False

    backend: Literal["vllm"] = Field(
        "vllm", description="What computes: vLLM, in an environment of its own."
    )


class VllmTasks(TasksEvaluator):
    """Checkpoint folders, by vLLM, asked for log-probabilities of prompts and for greedy texts."""

    Params: ClassVar[ParamsModel] = VllmTasksParams
    accepts: ClassVar[Mapping[str, tuple[str, ...]]] = {"model": Vllm.containers}

    @classmethod
    def backend_fingerprint(cls) -> Mapping[str, Json]:
        """The environment for this machine."""
        return Vllm.fingerprint()

    @classmethod
    def fingerprint(cls, params: Any) -> Mapping[str, Json]:
        """Also of the environment that computes on the device."""
        return {**super().fingerprint(params), **fingerprint(environment(computes_on(params)))}

    @classmethod
    def resources(cls, params: Any, *, cores: int) -> Resources:
        """Resources as for vLLM's other evaluators, and a GPU if that is the device."""
        return on_device(Vllm.resources(cores=cores), params)

    @classmethod
    def check(cls) -> str | None:
        """lm-eval, and vLLM's environment."""
        return super().check() or Vllm.check()

    @classmethod
    def refuse(cls, params: VllmTasksParams, order: Order) -> None:
        """Raises RecipeError (the tasks), CheckpointError for what vLLM does not load."""
        super().refuse(params, order)
        refuse(params, order)

    def open(self, params: VllmTasksParams, work: Work, stack: ExitStack) -> OpenedModel:
        """The checkpoint in the model's folder; the engine starts with the first request."""
        from qpipe.evaluators.harness.vllm import VllmLM

        folder = work.inputs["model"]
        require_memory(checkpoint_memory(folder), name="the checkpoint")
        own = environment(computes_on(params))
        lm = stack.enter_context(VllmLM(folder, own, threads=work.threads, date=params.date))
        return OpenedModel(lm, lm.computed_by, lm.arithmetic)
