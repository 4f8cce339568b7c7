"""A command on a large host of which it may use little: a container, a batch job, taskset."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli import environment

# The host's cores cannot be had here; what the process may use of them is real.
HOST = """
import os, sys
os.cpu_count = lambda: 256
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:{allowed}])
from qpipe.cli import main
sys.exit(main({arguments!r}))
"""


def on_a_large_host(*arguments: str, allowed: int, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", HOST.format(allowed=allowed, arguments=list(arguments))],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def booked(folder: Path) -> dict[str, Any]:
    """What stages were drafted to occupy, by name, from the note that a plan leaves."""
    (note,) = (folder / "outputs" / "store" / "plans").glob("*")
    payload = json.loads(note.read_bytes())["payload"]
    stages = [stage for job in payload["jobs"] for stage in job["stages"]]
    return {stage["name"]: stage["resources"] for stage in stages}


def test_a_small_model_is_not_refused_for_the_cores_of_the_host(tmp_path: Path) -> None:
    planned = on_a_large_host(
        "plan", "demo", "quantize.type=Q4_K_M", "executor.memory=8GB", allowed=1, cwd=tmp_path
    )
    assert planned.returncode == 0, planned.stderr
    assert booked(tmp_path)["quantize"]["cpus"] == 1


def test_the_bound_of_the_executor_is_what_stages_are_told(tmp_path: Path) -> None:
    planned = on_a_large_host("plan", "demo", "executor.cpus=5", allowed=1, cwd=tmp_path)
    assert planned.returncode == 0, planned.stderr
    assert booked(tmp_path)["quantize"]["cpus"] == 5


def test_doctor_tells_what_may_be_used(tmp_path: Path) -> None:
    told = on_a_large_host("doctor", "--json", allowed=1, cwd=tmp_path)
    checks = {check["name"]: check["found"] for check in json.loads(told.stdout)["checks"]}
    assert "1 of 256 cores usable" in checks["processor"]


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_a_plan_for_other_cores_is_made_anew(tmp_path: Path) -> None:
    for allowed in (1, 2):
        on_a_large_host("plan", "demo", "quantize.type=Q4_K_M", allowed=allowed, cwd=tmp_path)
        assert booked(tmp_path)["quantize"]["cpus"] == allowed
