"""What keeps a stage from computing on a GPU, said before it starts: torch's build, and memory."""

from __future__ import annotations

from qpipe.errors import EngineMissingError, OutOfMemoryError
from qpipe.machine import gpu_memory, torch_build
from qpipe.stages.base import Params
from qpipe.stages.device import CUDA, computes_on


def require_cuda(params: Params, *, field: str) -> None:
    """Raise EngineMissingError if it is to compute on a GPU and this interpreter's torch cannot;
    ``field`` is the block of the recipe that has the setting ``device``."""
    if computes_on(params) == CUDA and (why := torch_build.problem()):
        raise EngineMissingError(
            f"{field}.device: a GPU is to be used, and {why}; {field}.device=cpu computes on the "
            "CPU"
        )


def require_room(params: Params, needed: int, *, field: str, name: str) -> None:
    """Raise OutOfMemoryError if it is to compute on a GPU, and none here has so many bytes.

    ``needed`` is the least that it takes, ``name`` what takes it.
    """
    room = gpu_memory.most() if computes_on(params) == CUDA else None
    if room is not None and needed > room:
        raise OutOfMemoryError(
            f"{field}.device: {name} takes {needed / 1e9:.1f} GB of a GPU's memory at least, and "
            f"the largest here has {room / 1e9:.1f} GB; {field}.device=cpu computes on the CPU"
        )
