"""llama.cpp's programs as backends: the device that they compute on is a matter of their build."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from qpipe.core.graph import Resources
from qpipe.core.key import Json
from qpipe.errors import RecipeError
from qpipe.evaluators.common.backends import LlamaCpp, on_device
from qpipe.evaluators.common.parameters import KvParams
from qpipe.machine import tools
from qpipe.stages.base import GGUF, Order
from qpipe.stages.device import CPU, CUDA
from qpipe.stages.evaluator import Evaluator

# More layers than any model has.
_ALL_LAYERS = 999


class ProgramParams(KvParams):
    """Settings of a program on PATH. What it does on the CPU, or by another kind of GPU (Metal,
    Vulkan), is left to it."""

    DEVICES = (CPU, CUDA)

    @property
    def options(self) -> tuple[str | int, ...]:
        """The options by which it keeps keys and values as the recipe says, on the device."""
        kv = ("-ctk", self.type_k, "-ctv", self.type_v, "-fa", self.flash_attention)
        return (*kv, *self.offload)

    @property
    def offload(self) -> tuple[str | int, ...]:
        """The options by which it computes on the GPU that the worker sees, as its first."""
        on_gpu = self.computes_on == CUDA
        return ("-ngl", _ALL_LAYERS, "--device", "CUDA0") if on_gpu else ()


def require_device(program: str, params: ProgramParams) -> None:
    """Raise RecipeError for a device that the program on PATH was not built for."""
    tool = tools.find(program)
    if params.computes_on != CUDA or tool.problem:
        return
    devices = tools.llama_devices(program)
    if not any(name.startswith("CUDA") for name in devices):
        raise RecipeError(
            f"evaluate.device: {tool.path} has no CUDA device (it lists "
            f"{', '.join(devices) or 'none'}): set evaluate.device=cpu, or build llama.cpp with "
            "-DGGML_CUDA=ON"
        )


class ProgramEvaluator(Evaluator):
    """Base of evaluators of a GGUF file, on prepared tokens, by the program of llama.cpp's that
    ``program`` names."""

    program: ClassVar[str]
    roles: ClassVar[tuple[str, ...]] = ("model", "tokens")
    accepts: ClassVar[Mapping[str, tuple[str, ...]]] = {"model": (GGUF,)}

    @classmethod
    def fingerprint(cls, params: Any) -> Mapping[str, Json]:
        """The version that the program on PATH prints."""
        return {"name": "llama.cpp", cls.program: tools.find(cls.program).version}

    @classmethod
    def resources(cls, params: Any, *, cores: int) -> Resources:
        """Resources as for llama.cpp in the worker's process, and a GPU if that is the device."""
        return on_device(LlamaCpp.resources(cores=cores), params)

    @classmethod
    def check(cls) -> str | None:
        """Return the problem, or None if the program is on PATH and runs."""
        why = tools.find(cls.program).problem
        return why and f"{why}; evaluate.backend=llama.cpp measures the same without it"

    @classmethod
    def refuse(cls, params: Any, order: Order) -> None:
        """Raises RecipeError for a device that the program was not built for."""
        require_device(cls.program, params)
