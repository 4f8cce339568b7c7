"""How fast this machine reads memory and multiplies, measured once and kept in the user's cache."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from qpipe.errors import QpipeError
from qpipe.machine.capacity import usable_cores, usable_memory
from qpipe.machine.identity import identity
from qpipe.machine.load import LoadMeter
from qpipe.support.user_cache import user_cache

_READ = 1 << 30  # bytes of all cores together, beyond what their caches hold
_SIDE = 1536  # of the matrices that are multiplied
_SECONDS = 1.0
_BUSY = 0.1  # share of the cores that others may take


@dataclass(frozen=True)
class Calibration:
    """Bytes a second that all usable cores read together (``bandwidth``), operations a second in
    single precision (``flops``), on how many ``cores``; ``disturbed``: others took more than a
    tenth of the machine meanwhile, so that both may be too low."""

    bandwidth: float
    flops: float
    cores: int
    disturbed: bool
    created: float


def load() -> Calibration | None:
    """Return what was measured on this machine with as many cores; None where nothing was."""
    try:
        kept = json.loads(_file().read_text())
        entry = kept[_machine()]
        return Calibration(**entry)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def calibrate() -> Calibration:
    """Measure, in a few seconds, and keep it. Raises QpipeError where the cache
    cannot be written."""
    meter, cores = LoadMeter(), usable_cores()
    bandwidth, flops = _best(_reader(cores)), _best(_multiplier())
    others = meter.read().others
    disturbed = others is not None and others > _BUSY
    measured = Calibration(bandwidth, flops, cores, disturbed, time.time())
    keep(measured)
    return measured


def _best(round_of: Callable[[], float]) -> float:
    """The most of what is done a second, over rounds: what disturbs one only lowers it."""
    round_of()
    rates: list[float] = []
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end or len(rates) < 3:
        start = time.perf_counter()
        done = round_of()
        rates.append(done / (time.perf_counter() - start))
    return max(rates)


def _reader(cores: int) -> Callable[[], float]:
    """Reads all of an array for each core; returns the bytes."""
    import numpy as np

    each = min(_READ, usable_memory() // 8) // cores
    arrays = [np.ones(each // 8, np.int64) for _ in range(cores)]

    def read() -> float:
        with ThreadPoolExecutor(cores) as pool:
            list(pool.map(np.max, arrays))  # without Python's lock
        return float(sum(array.nbytes for array in arrays))

    return read


def _multiplier() -> Callable[[], float]:
    """Multiplies two matrices; returns the operations."""
    import numpy as np

    left = np.full((_SIDE, _SIDE), 0.5, np.float32)

    def multiply() -> float:
        left @ left
        return 2.0 * _SIDE**3

    return multiply


def _machine() -> str:
    """A text that only this machine has, with the cores that may be used."""
    return json.dumps({**identity(), "usable_cores": usable_cores()}, sort_keys=True)


def _file() -> Path:
    return user_cache() / "calibration.json"


def keep(measured: Calibration) -> None:
    """Write what was measured into the user's cache. Raises QpipeError."""
    file = _file()
    try:
        kept = json.loads(file.read_text())
    except (OSError, ValueError):
        kept = {}
    if not isinstance(kept, dict):
        kept = {}
    kept[_machine()] = asdict(measured)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        whole = file.with_name(f"{file.name}.{os.getpid()}")
        whole.write_text(json.dumps(kept, indent=1))
        whole.replace(file)
    except OSError as error:
        raise QpipeError(
            f"{file}: what was measured cannot be kept ({error.strerror}); set XDG_CACHE_HOME to a "
            "folder that can be written"
        ) from None
