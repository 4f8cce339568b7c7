"""The environments that vLLM works in: its build for CPUs, and the one for CUDA."""

from __future__ import annotations

from pathlib import Path

from qpipe.core.key import Json
from qpipe.environments.environment import Environment
from qpipe.machine import gpus
from qpipe.stages.device import CUDA as ON_CUDA
from qpipe.stages.device import Device

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
