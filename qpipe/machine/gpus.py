"""NVIDIA GPUs: those of the machine, and those that CUDA shows this process."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

ROOT = Path("/")
LIBRARY = "libcuda.so.1"
VARIABLE = "CUDA_VISIBLE_DEVICES"

# Starting CUDA takes a fraction of a second, and on a machine of eight cards whose driver was
# asleep (persistence mode off) some ten.
_SECONDS = 60.0


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


@cache
def cards(names: tuple[str, ...], root: Path = ROOT, library: str = LIBRARY) -> dict[str, str]:
    """Map names, as CUDA_VISIBLE_DEVICES has them, to what tells one physical card (or instance of
    MIG) from all others, whoever names it and how; without names for which CUDA shows none.

    CUDA itself is asked, in a process of its own and once: it alone knows what an index means
    (CUDA_DEVICE_ORDER), which of the devices a container hides, and what a UUID is short for.
    """
    if not driver_loads(library):
        return {name: _by_node(name, root) for name in names}
    # Of several instances of MIG, CUDA shows a process the first alone.
    alone = [(name,) for name in names if name.startswith("MIG-")]
    together = tuple(name for name in names if not name.startswith("MIG-"))
    shown: dict[str, str] = {}
    for asked in [*([together] if together else []), *alone]:
        uuids = _shown_by_cuda(asked, library)
        if uuids is None:
            shown |= {name: _by_node(name, root) for name in asked}
        else:
            shown |= dict(zip(asked, uuids, strict=False))
    return {name: shown[name] for name in names if name in shown}


def _shown_by_cuda(names: Sequence[str], library: str) -> list[str] | None:
    """UUIDs of the GPUs that CUDA shows where these are named; None where it cannot be asked."""
    import subprocess  # a run in which all is cached takes less than this does to import

    program = Path(__file__).with_name("cuda_cards.py")
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(program), library],
            env={**os.environ, VARIABLE: ",".join(names)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.split() if done.returncode == 0 else None


def _by_node(name: str, root: Path) -> str:
    """A name for a card where CUDA does not answer: the number of its device node, which is
    the driver's, else the name itself."""
    nodes = devices(root)
    return nodes[int(name)] if name.isdecimal() and int(name) < len(nodes) else name


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


def unknown(names: Sequence[str]) -> str:
    """Say that CUDA shows no GPU of these names, with what helps."""
    return (
        f"{VARIABLE}={os.environ.get(VARIABLE, ','.join(names))} names no GPU that CUDA shows here "
        "(`nvidia-smi -L` lists those there are): set it to one of them, or unset it"
    )
