"""Scores in tasks of lm-eval of a GGUF file, by llama-server from PATH."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, ClassVar, Literal

from pydantic import Field

from qpipe.core.graph import Resources
from qpipe.core.key import Json
from qpipe.evaluators.common.backends import LlamaCpp, on_device, require_memory
from qpipe.evaluators.common.llama_programs import ProgramParams, require_device
from qpipe.evaluators.tasks import CommonTasksParams, OpenedModel, TasksEvaluator
from qpipe.machine import tools
from qpipe.stages.base import GGUF, Order, ParamsModel, Work
from qpipe.stages.evaluator import only_file

PROGRAM = "llama-server"


class ServerTasksParams(CommonTasksParams, ProgramParams):
    """For GGUF files on a build of llama.cpp of the user's own."""

    backend: Literal["llama-server"] = Field(
        "llama-server", description="What computes: the program llama-server from PATH."
    )


class ServerTasks(TasksEvaluator):
    """GGUF files, by llama-server."""

    Params: ClassVar[ParamsModel] = ServerTasksParams
    accepts: ClassVar[Mapping[str, tuple[str, ...]]] = {"model": (GGUF,)}

    @classmethod
    def backend_fingerprint(cls) -> Mapping[str, Json]:
        """The version that the program on PATH prints."""
        return {"name": "llama.cpp", PROGRAM: tools.find(PROGRAM).version}

    @classmethod
    def resources(cls, params: Any, *, cores: int) -> Resources:
        """Resources as for llama.cpp's other evaluators, and a GPU if that is the device."""
        return on_device(LlamaCpp.resources(cores=cores), params)

    @classmethod
    def check(cls) -> str | None:
        """lm-eval, and the program on PATH."""
        if why := super().check():
            return why
        why = tools.find(PROGRAM).problem
        return why and f"{why}; evaluate.backend=llama.cpp asks the same without it"

    @classmethod
    def refuse(cls, params: ServerTasksParams, order: Order) -> None:
        """Raises RecipeError, also for a device that the program was not built for."""
        super().refuse(params, order)
        require_device(PROGRAM, params)

    def open(self, params: ServerTasksParams, work: Work, stack: ExitStack) -> OpenedModel:
        """The one GGUF file in the model's folder."""
        from qpipe.evaluators.harness.server import ServerLM
        from qpipe.llamacpp.server import version

        path = only_file(work.inputs["model"], suffix=".gguf")
        require_memory(path.stat().st_size, name=path.name)
        lm = ServerLM(path, threads=work.threads, options=params.options, date=params.date)
        return OpenedModel(stack.enter_context(lm), f"{PROGRAM} {version()}", None)
