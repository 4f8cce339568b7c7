"""Making a requirements lock anew from the direct requirements: `qpipe engines lock NAME`.

uv resolves for all supported Pythons and systems at once. Two things are ours: torch keeps its
version and loses its hashes (see `requirements_lock`), and the accelerator packages that its
build for CUDA asks for are left out, since another build asks for others.
"""

from __future__ import annotations

import subprocess

from qpipe.core import file_lock
from qpipe.environments.environment import Environment
from qpipe.environments.requirements_lock import TORCH, parse
from qpipe.errors import EngineMissingError
from qpipe.machine import tools

_OF_A_BUILD = ("nvidia-", "cuda-")

_HEADER = """\
# Made by `qpipe engines lock {name}` from {name}.in; do not edit.
# torch is pinned by its version alone: its build is a matter of the machine.
"""


def make(environment: Environment) -> int:
    """Write the lock; how many distributions it has.

    Raises EngineMissingError if uv is not there or finds no versions that go together.
    """
    uv = tools.locate("uv")
    if uv is None:
        raise EngineMissingError("making a lock needs uv: pip install uv")
    first = f"3.{environment.pythons[0]}"
    done = subprocess.run(
        [uv, "pip", "compile", "--quiet", "--universal", "--generate-hashes", "--upgrade",
         "--no-header", "--no-annotate", "--python-version", first, str(environment.requirements)],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise EngineMissingError(
            f"uv cannot lock {environment.requirements}: {done.stderr.strip()}"
        )
    entries = [e for e in parse(done.stdout) if not e.name.startswith(_OF_A_BUILD)]
    text = _HEADER.format(name=environment.name)
    for entry in entries:
        text += f"{TORCH}=={entry.version}\n" if entry.name == TORCH else entry.text
    file_lock.write_atomic(environment.requirements_lock_path, text.encode())
    return len(entries)
