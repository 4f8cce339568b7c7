"""The device that a stage was planned for, as torch sees it in this process."""

from __future__ import annotations

import os

from qpipe.errors import EngineMissingError, StageError, reason


def require(device: str, *, alone: bool = False) -> None:
    """Raise EngineMissingError if ``device`` is cuda and torch sees no GPU here: nothing is
    computed on the CPU unasked.

    ``alone``: what is called next chooses for itself, and takes a GPU that it sees; raises
    StageError if it would while ``device`` is cpu.
    """
    import torch

    sees = torch.cuda.is_available()
    if device == "cuda" and not sees:
        raise EngineMissingError(
            f"it was planned for a GPU (device=cuda), and torch {torch.__version__} "
            f"{_why_not()}; device=cpu computes on the CPU"
        )
    if device == "cpu" and sees and alone:
        raise StageError(
            "it was planned for the CPU (device=cpu), and what computes would take the GPU that "
            "this process sees; take executor=local, which hides it, or set CUDA_VISIBLE_DEVICES="
        )


def computed_on(device: str, threads: int) -> dict[str, str | int]:
    """Return what sums in single precision hang on beside versions: the card, or the vector
    instructions that torch uses on this processor (ATEN_CPU_CAPABILITY) and the threads."""
    import torch

    if device == "cuda":
        return {"device": device, "gpu": gpu_name()}
    instructions = torch.backends.cpu.get_cpu_capability()
    return {"device": device, "instructions": instructions, "threads": threads}


def gpu_name() -> str:
    """Return the name of the GPU that torch computes on. Raises what torch raises without one."""
    import torch

    return torch.cuda.get_device_name(0)


def _why_not() -> str:
    import torch

    if torch.version.cuda is None:
        return "is built without CUDA"
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:
        why = reason(error).splitlines()[0]
        shown = os.environ.get("CUDA_VISIBLE_DEVICES")
        where = "" if shown is None else f" with CUDA_VISIBLE_DEVICES={shown}"
        return f"sees none in this process{where}: {why}"
    return "sees none in this process"
