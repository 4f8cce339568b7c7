"""vLLM as a backend, in an environment of its own: its build for CPUs, or the one for CUDA."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qpipe.core.graph import Resources
from qpipe.core.key import Json
from qpipe.environments.environment import Environment
from qpipe.evaluators.common.backends import Opener, checkpoint_memory, require_memory
from qpipe.machine import gpus
from qpipe.stages.base import CHECKPOINT
from qpipe.stages.device import CUDA as ON_CUDA
from qpipe.stages.device import Device, computes_on

if TYPE_CHECKING:
    from qpipe.evaluators.text.interfaces import Backend

_FOLDER = Path(__file__).parents[1] / "isolated"
ASKED_AS = "vllm"
"""What people call the one that fits the machine."""

CPU = Environment("vllm-cpu", _FOLDER, pythons=(11, 13), shares="vllm", asked_as=ASKED_AS)
CUDA = Environment(
    "vllm-cuda", _FOLDER, pythons=(11, 13), shares="vllm", asked_as=ASKED_AS, cuda=True
)


def environment(device: Device | None = None) -> Environment:
    """The one that computes on a device; on that of this machine if it is None."""
    if device is None:
        return CUDA if gpus.visible() else CPU
    return CUDA if device == ON_CUDA else CPU


class Vllm(Opener):
    """vLLM, given token ids; its logits are taken where it computes them."""

    containers = (CHECKPOINT,)

    @staticmethod
    def fingerprint() -> Mapping[str, Json]:
        """That of the environment for this machine."""
        return fingerprint(environment())

    @staticmethod
    def resources(*, cores: int) -> Resources:
        """Weights as loaded and once more while they are packed anew; vLLM takes the rest."""
        return Resources(
            cpus=max(1, cores // 2),
            memory=3 << 30,
            memory_per_input_byte=2.5,
            sized_by="model",
        )

    @staticmethod
    def check() -> str | None:
        """Return the problem, with the command that installs its environment, or None."""
        return environment().problem()

    @staticmethod
    def open(model: Path, params: Any, *, threads: int) -> AbstractContextManager[Backend]:
        """The checkpoint in the folder; the engine starts when the first window is asked for."""
        from qpipe.evaluators.common.vllm_backend import VllmBackend

        require_memory(checkpoint_memory(model), name="the checkpoint")
        return VllmBackend(model, environment(computes_on(params)), threads=threads)


def fingerprint(own: Environment) -> dict[str, Json]:
    """vLLM and all it works with: the digest of the requirements lock, and the packages that are
    there in other versions."""
    lock = own.requirements_lock
    known: dict[str, Json] = {"name": "vllm", "version": release(own), "lock": lock.digest}
    differing = dict(own.differing())
    return {**known, "here": differing} if differing else known


def release(own: Environment) -> str:
    """The version of vLLM in an environment's lock."""
    return own.requirements_lock.version("vllm" if own.cuda else "vllm-cpu")
