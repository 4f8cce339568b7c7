"""Limits of control groups, from trees as containers, batch systems and systemd make them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from qpipe.machine import capacity
from qpipe.machine.cgroups import cpu_quota, memory_limit
from tests.cgroups import memory_group, quota_group
from tests.machine.trees import HYBRID, V1_CPU, V1_MEMORY, V2, tree

GB = 1 << 30
NONE = str((1 << 63) - 4096)  # what version 1 has where no limit is set


def test_version_2_in_a_container(tmp_path: Path) -> None:
    """docker run --cpus 1.5 --memory 4g: the container's group is the root that it sees."""
    limits = {"cpu.max": "150000 100000", "memory.max": str(4 * GB)}
    root = tree(tmp_path, cgroup="0::/", mounts=[V2], limits=limits)
    assert (cpu_quota(root), memory_limit(root)) == (1.5, 4 * GB)


def test_version_2_without_limits(tmp_path: Path) -> None:
    limits = {"a/cpu.max": "max 100000", "a/memory.max": "max"}
    root = tree(tmp_path, cgroup="0::/a", mounts=[V2], limits=limits)
    assert (cpu_quota(root), memory_limit(root)) == (None, None)


def test_the_smallest_limit_on_the_way_up_counts(tmp_path: Path) -> None:
    """A job of a batch system: the step has none of its own, the job has, a neighbour has less."""
    limits = {
        "slurm/job_7/step_0/memory.max": "max",
        "slurm/job_7/step_0/cpu.max": "800000 100000",
        "slurm/job_7/memory.max": str(8 * GB),
        "slurm/job_7/cpu.max": "400000 100000",
        "slurm/job_8/memory.max": str(GB),
        "slurm/memory.max": str(64 * GB),
        "slurm/cpu.max": "max 100000",
    }
    root = tree(tmp_path, cgroup="0::/slurm/job_7/step_0\n", mounts=[V2], limits=limits)
    assert (cpu_quota(root), memory_limit(root)) == (4.0, 8 * GB)


V1_LINES = "12:cpu,cpuacct:{group}\n4:memory:{group}\n1:name=systemd:/x\n0::/x\n"


def v1(folder: str = "", memory_limit: str = NONE, quota: str = "-1") -> dict[str, str]:
    return {
        f"memory{folder}/memory.limit_in_bytes": memory_limit,
        f"cpu,cpuacct{folder}/cpu.cfs_quota_us": quota,
        f"cpu,cpuacct{folder}/cpu.cfs_period_us": "100000",
    }


@pytest.mark.parametrize("top", ["/docker/0a1b", "/"])
def test_version_1_in_a_container(tmp_path: Path, top: str) -> None:
    """Its own group is mounted as the root, though /proc has the host's name for it."""
    root = tree(
        tmp_path,
        cgroup=V1_LINES.format(group="/docker/0a1b"),
        mounts=[line.format(top=top) for line in (V1_MEMORY, V1_CPU)] + [HYBRID],
        limits=v1(memory_limit=str(2 * GB), quota="250000"),
    )
    assert (cpu_quota(root), memory_limit(root)) == (2.5, 2 * GB)


def test_version_1_of_a_host(tmp_path: Path) -> None:
    limits = {**v1(), **v1("/user", str(3 * GB), "50000"), **v1("/user/1")}
    root = tree(
        tmp_path,
        cgroup=V1_LINES.format(group="/user/1"),
        mounts=[line.format(top="/") for line in (V1_MEMORY, V1_CPU, HYBRID)],
        limits=limits,
    )
    assert (cpu_quota(root), memory_limit(root)) == (0.5, 3 * GB)


def test_version_1_without_limits(tmp_path: Path) -> None:
    mounts = [line.format(top="/") for line in (V1_MEMORY, V1_CPU)]
    root = tree(tmp_path, cgroup=V1_LINES.format(group="/"), mounts=mounts, limits=v1())
    assert cpu_quota(root) is None
    assert capacity.usable_memory(root) == capacity.host_memory()


def test_a_group_outside_of_what_is_mounted(tmp_path: Path) -> None:
    limits = {"memory.max": str(GB), "cpu.max": "100000 100000"}
    root = tree(tmp_path, cgroup="0::/../../other", mounts=[V2], limits=limits)
    assert (cpu_quota(root), memory_limit(root)) == (1.0, GB)


def test_a_system_without_proc(tmp_path: Path) -> None:
    assert (cpu_quota(tmp_path), memory_limit(tmp_path)) == (None, None)
    assert capacity.usable_cores(tmp_path) == len(os.sched_getaffinity(0))
    assert capacity.usable_memory(tmp_path) == capacity.host_memory()


@pytest.mark.parametrize(
    ("quota", "affinity", "usable"),
    [("20000 100000", 256, 1), ("150000 100000", 256, 2), ("400000 100000", 256, 4),
     ("25600000 100000", 8, 8), ("max 100000", 6, 6), ("0 100000", 6, 6)],
)  # fmt: skip
def test_cores_by_quota_and_affinity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, affinity: int, usable: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(affinity)))
    root = tree(tmp_path, cgroup="0::/", mounts=[V2], limits={"cpu.max": quota})
    assert capacity.usable_cores(root) == usable


def test_memory_by_limit_and_host(tmp_path: Path) -> None:
    root = tree(tmp_path, cgroup="0::/", mounts=[V2], limits={"memory.max": str(1 << 50)})
    assert capacity.usable_memory(root) == capacity.host_memory()
    (root / "sys/fs/cgroup/memory.max").write_text("1000000")
    assert capacity.usable_memory(root) == 1000000


def asked_within(put: Callable[[int], None]) -> list[int]:
    """What a process that is put into a real group may use: cores, bytes of memory."""
    code = "input(); from qpipe.machine.capacity import *; print(usable_cores(), usable_memory())"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        put(process.pid)
        out, _ = process.communicate("\n")
    return list(map(int, out.split()))


def test_a_real_group_with_a_quota() -> None:
    with quota_group(70) as put:
        assert asked_within(put)[0] == 1


def test_a_real_group_with_a_limit() -> None:
    with memory_group(500 << 20) as put:
        assert asked_within(put)[1] == 500 << 20


def test_a_real_affinity() -> None:
    code = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
    code += "from qpipe.machine import capacity; print(capacity.usable_cores())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1"]
