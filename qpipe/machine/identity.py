"""The description of a machine that results carry."""

from __future__ import annotations

import contextlib
import functools
import platform
from pathlib import Path
from typing import Any

from qpipe.machine import capacity


def describe() -> dict[str, Any]:
    """System, architecture, processor and cores of the host that a result was made on."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "processor": _processor(),
        "cores": capacity.host_cores(),
    }


def identity() -> dict[str, Any]:
    """The fields that tell this machine from others, for results that hold on it alone."""
    fields = describe()
    del fields["system"]  # an update is no other machine
    return {**fields, "node": platform.node()}


@functools.cache
def features() -> frozenset[str]:
    """The features of the processor by Linux's names (avx2, asimddp, …); none on other systems."""
    return frozenset(_cpuinfo("flags", "Features").split())


def _processor() -> str:
    return _cpuinfo("model name") or platform.processor()


def _cpuinfo(*names: str) -> str:
    """The first value under one of these names in /proc/cpuinfo, empty without any."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(names):
                return line.split(":", 1)[1].strip()
    return ""
