"""The real command line, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).parents[1]
# What a developer's own environment must not change.
_CLEARED = ("QPIPE_STORE", "QPIPE_RUNS", "HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_HOME", "NO_COLOR")


@dataclass(frozen=True)
class Answer:
    code: int
    stdout: str
    stderr: str


def environment(env: Mapping[str, str] | None = None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in _CLEARED}
    return {**kept, "PYTHONPATH": str(_ROOT), **(env or {})}


def qpipe(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None, timeout: float = 120
) -> Answer:
    done = subprocess.run(
        [sys.executable, "-m", "qpipe", *arguments],
        cwd=cwd,
        env=environment(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    return Answer(done.returncode, done.stdout, done.stderr)
