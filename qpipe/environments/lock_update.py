"""Making a requirements lock anew from the direct requirements: `qpipe engines lock NAME`.

uv resolves for all supported Pythons and systems at once. Two things are ours: torch keeps its
version and loses its hashes (see `requirements_lock`), and the accelerator packages that its
build for CUDA asks for are left out, since another build asks for others. NAME.override, if it is
there, replaces requirements of the same name anywhere; one under ``sys_platform == 'never'`` is
left out.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from qpipe.core import file_lock
from qpipe.environments.environment import Environment
from qpipe.environments.requirements_lock import TORCH, LockedPackage, parse
from qpipe.errors import EngineMissingError
from qpipe.machine import tools

# Of what torch requires; other packages of these names are a tool's own.
_OF_A_BUILD = ("nvidia-", "cuda-")
_NEVER = "sys_platform == 'never'"

_HEADER = """\
# Made by `qpipe engines lock {name}` from {file}; do not edit.
# torch is pinned by its version alone: its build is a matter of the machine.
"""


def make(environment: Environment) -> int:
    """Write the lock; how many distributions it has.

    Raises EngineMissingError if uv is not there or finds no versions that go together.
    """
    uv = tools.locate("uv")
    if uv is None:
        raise EngineMissingError("making a lock needs uv: pip install uv")
    entries = _resolved(uv, environment, environment.requirements.read_text())
    torch = next((entry for entry in entries if entry.name == TORCH), None)
    brought = set()
    if torch is not None:
        brought = {e.name for e in _resolved(uv, environment, f"{TORCH}=={torch.version}\n")}
    entries = [
        entry
        for entry in entries
        if not (entry.name in brought and entry.name.startswith(_OF_A_BUILD))
        and _NEVER not in entry.text
    ]
    text = _HEADER.format(name=environment.name, file=environment.requirements.name)
    for entry in entries:
        text += f"{TORCH}=={entry.version}\n" if entry.name == TORCH else entry.text
    file_lock.write_atomic(environment.requirements_lock_path, text.encode())
    return len(entries)


def _resolved(uv: Path, environment: Environment, requirements: str) -> list[LockedPackage]:
    """All that these requirements, and what they require, come to."""
    overrides = environment.overrides
    done = subprocess.run(
        [uv, "pip", "compile", "--quiet", "--universal", "--generate-hashes", "--upgrade",
         "--no-header", "--no-annotate", "--python-version", f"3.{environment.pythons[0]}",
         *(["--override", str(overrides)] if overrides.exists() else []), "-"],
        input=requirements,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise EngineMissingError(
            f"uv cannot lock {environment.requirements}: {done.stderr.strip()}"
        )
    return list(parse(done.stdout))
