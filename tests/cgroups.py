"""Real control groups, where the tests may make them."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path("/sys/fs/cgroup")


@contextlib.contextmanager
def control_group(
    controller: str, one: Mapping[str, str], two: Mapping[str, str]
) -> Iterator[Callable[[int], None]]:
    """A new group with a controller of cgroup v1, or of v2 where it is delegated, and these files
    set, of which only the first must be there; a function that puts a pid in."""
    version_1 = (ROOT / controller).is_dir()
    limits = one if version_1 else two
    group = (ROOT / controller if version_1 else ROOT) / f"qpipe-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no {controller} cgroup can be made here: {error}")
    try:
        if not (group / next(iter(limits))).exists():
            pytest.skip(f"the {controller} controller is not delegated here")
        for index, (name, value) in enumerate(limits.items()):
            with contextlib.suppress(*([OSError] if index else [])):
                (group / name).write_text(value)

        def put(pid: int) -> None:
            (group / "cgroup.procs").write_text(str(pid))

        yield put
    finally:
        for _ in range(100):
            try:
                group.rmdir()
                break
            except OSError:
                time.sleep(0.05)


def memory_group(limit: int) -> contextlib.AbstractContextManager[Callable[[int], None]]:
    """A group with so many bytes of memory, and no swap where swap is accounted."""
    both = {"memory.limit_in_bytes": str(limit), "memory.memsw.limit_in_bytes": str(limit)}
    return control_group("memory", both, {"memory.max": str(limit), "memory.swap.max": "0"})


def quota_group(percent: int) -> contextlib.AbstractContextManager[Callable[[int], None]]:
    """A group with so many percent of a core."""
    quota = str(percent * 1000)
    return control_group("cpu", {"cpu.cfs_quota_us": quota}, {"cpu.max": f"{quota} 100000"})
