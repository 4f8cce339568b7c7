"""`python -m tests.gpu.environments NAME`: an engine's environment, made or waited for."""

from __future__ import annotations

import os
import subprocess
import sys


def command(name: str) -> list[str]:
    """The command that makes it, of the wheels that were packed, if any were."""
    wheels = os.environ.get("QPIPE_GPU_WHEELS")
    packed = ["--from", wheels, "--torch", "here", "--rest", "here"] if wheels else []
    return [sys.executable, "-m", "qpipe", "engines", "install", name, *packed]


if __name__ == "__main__":
    sys.exit(subprocess.run(command(sys.argv[1]), check=False).returncode)
