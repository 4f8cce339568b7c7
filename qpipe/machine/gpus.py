"""NVIDIA GPUs: those of the machine, and those that CUDA shows this process."""

from __future__ import annotations

import contextlib
import os
from functools import cache
from pathlib import Path

ROOT = Path("/")
LIBRARY = "libcuda.so.1"
VARIABLE = "CUDA_VISIBLE_DEVICES"


def devices(root: Path = ROOT) -> list[str]:
    """The device nodes that the driver made (or a container was given), as paths, by number."""
    nodes = [path for path in (root / "dev").glob("nvidia*") if path.name[6:].isdecimal()]
    return [f"/dev/{path.name}" for path in sorted(nodes, key=lambda path: int(path.name[6:]))]


@cache
def names(proc: Path = Path("/proc/driver/nvidia/gpus")) -> list[str]:
    """The GPUs of the host as their driver calls them (``NVIDIA H100 80GB HBM3``), each once."""
    found: dict[str, None] = {}
    for file in sorted(proc.glob("*/information")):
        with contextlib.suppress(OSError):
            for line in file.read_text(errors="replace").splitlines():
                key, _, name = line.partition(":")
                if key.strip() == "Model":
                    found[name.strip()] = None
    return [*found]


def driver_loads(library: str = LIBRARY) -> bool:
    """True if the driver's library for programs loads: a container may have the devices alone."""
    import ctypes

    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def visible(root: Path = ROOT, library: str = LIBRARY) -> list[str]:
    """The GPUs that CUDA shows a process with this environment, as CUDA_VISIBLE_DEVICES names
    them: an index, or a ``GPU-`` or ``MIG-`` UUID. None without devices or without the driver.
    """
    count = len(devices(root))
    if not count or not driver_loads(library):
        return []
    named = os.environ.get(VARIABLE)
    return [str(index) for index in range(count)] if named is None else _shown(named, count)


def _shown(variable: str, count: int) -> list[str]:
    """The GPUs before the first name that stands for none: CUDA shows those (CUDA C++ Programming
    Guide, "CUDA Environment Variables"). An empty value and -1 hide all."""
    shown: list[str] = []
    for name in (part.strip() for part in variable.split(",")):
        index = name.isdecimal() and int(name) < count
        if name in shown or not (index or name.startswith(("GPU-", "MIG-"))):
            break
        shown.append(name)
    return shown


def problem(root: Path = ROOT, library: str = LIBRARY) -> str | None:
    """Why no GPU can be used here, with what helps; None where one can."""
    if visible(root, library):
        return None
    if not (there := devices(root)):
        return "there is no NVIDIA device"
    if not driver_loads(library):
        return (
            f"{', '.join(there)} is there, but not the driver's {library}: install the driver, or "
            "start the container with the NVIDIA container toolkit (--gpus all)"
        )
    return f"{VARIABLE}={os.environ[VARIABLE]} hides {', '.join(there)}: unset it"
