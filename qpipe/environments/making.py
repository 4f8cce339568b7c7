"""The steps of making an environment: its interpreter, its packages, torch, and the check of all.

Every file is checked against the lock's hashes before it is installed, by uv if it is there, else
by pip. What the index has as source only is built by the tools that the lock pins.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from qpipe.core import file_lock
from qpipe.environments import shared_torch
from qpipe.environments.environment import LIST_PACKAGES, READY, SHARED, Environment
from qpipe.environments.package_sources import PackageOrigins, PackageSources
from qpipe.environments.requirements_lock import TORCH
from qpipe.environments.target_python import TargetPython
from qpipe.errors import EngineMissingError
from qpipe.machine import tools

# pip's settings that hold for qpipe's own environment (the Makefile sets them) and not for this.
OURS = (
    "PIP_CONSTRAINT",
    "PIP_BUILD_CONSTRAINT",
    "PIP_REQUIRE_VIRTUALENV",
    "PYTHONPATH",
    "VIRTUAL_ENV",
)

# How much of an installer's last words is shown.
_LINES = 15

_QUIETLY = ("--disable-pip-version-check", "--no-input", "install", "--quiet", "--no-compile")

_IMPORT = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("script", sys.argv[1])
sys.modules["script"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
"""

_SEES_A_GPU = "import torch; print(torch.cuda.is_available())"


@dataclass(frozen=True)
class EnvironmentMaker:
    """``base`` is the interpreter to make ``environment`` with, ``fd`` the lock on it, which the
    installers inherit; ``say`` takes what is being done."""

    environment: Environment
    base: str
    sources: PackageSources
    fd: int
    say: Callable[[str], None]

    def make(self) -> Mapping[str, Any]:
        """Make it; what ready.json says of it. Raises EngineMissingError."""
        minor = self._minor()
        lock, built = self.environment.requirements_lock, frozenset(self.environment.built)
        origins = self.sources.sort(self.environment, self.base, TargetPython.here(minor))
        self._venv()
        wheels = lock.requirements(only=origins.installed - built)
        self._install(wheels, "--only-binary", ":all:")
        shared = self._lend(origins) if origins.lent else self._torch(origins)
        if built:
            sources = lock.requirements(only=origins.installed & built)
            self._install(sources, "--no-build-isolation")
        if self.sources.lends:
            self._try()
        record = {"lock": lock.digest, "base": self.base, **shared, **self._packages()}
        record |= self.compile()
        file_lock.write_atomic(self.environment.home / READY, json.dumps(record, indent=1).encode())
        return record

    def _minor(self) -> int:
        code = "import sys; print(*sys.version_info[:2])"
        major, minor = map(int, self._run([self.base, "-I", "-c", code]).split())
        first, last = self.environment.pythons
        if not (major == 3 and first <= minor <= last):
            raise EngineMissingError(
                f"{self.environment.name} needs Python 3.{first} to 3.{last}, and {self.base} is "
                f"{major}.{minor}: name another with --python PATH"
            )
        return minor

    def _venv(self) -> None:
        home = self.environment.home
        self.say(f"making {home}")
        home.parent.mkdir(parents=True, exist_ok=True)
        if uv := tools.locate("uv"):
            self._run([str(uv), "venv", "--quiet", "--python", self.base, str(home)])
        else:
            without = ["--without-pip"] if _pip_here() else []
            self._run([self.base, "-I", "-m", "venv", *without, str(home)])

    def _install(self, requirements: str, *options: str) -> None:
        """Install what a requirements file with hashes lists, and nothing that it does not."""
        if not requirements:
            return
        path = self.environment.home / "requirements.txt"
        path.write_text(requirements)
        self.say(
            f"installing what {self.environment.requirements_lock.path.name} lists, checking hashes"
        )
        self._pip(["--require-hashes", "--no-deps", *options, "-r", str(path)])

    def _lend(self, origins: PackageOrigins) -> Mapping[str, Any]:
        """Link packages of this interpreter: what `Environment.ready` knows of them."""
        versions = {name: shared_torch.version(name) or "" for name in sorted(origins.lent)}
        from_here = shared_torch.lender(min(versions))
        words = ", ".join(f"{name} {version}" for name, version in versions.items())
        self.say(f"sharing {words} with {from_here}")
        folder = self.environment.home / SHARED
        shared_torch.lend(folder, versions, without=origins.installed | origins.absent)
        shared_torch.on_path(self.environment.home, folder)
        if origins.absent:
            self.say(f"without {', '.join(sorted(origins.absent))}, as the torch that is here")
        told = {TORCH: versions[TORCH]} if TORCH in versions else {}
        return {**told, "shared_with": from_here, "here": versions}

    def _torch(self, origins: PackageOrigins) -> Mapping[str, Any]:
        """Install torch if the lock has it: what `Environment.ready` knows of it."""
        if (pinned := origins.torch) is None:
            return {}
        self.say(f"installing {TORCH} {pinned}, which is not here for that Python")
        self._pip([f"{TORCH}=={pinned}"])
        return {TORCH: pinned}

    def _pip(self, arguments: Sequence[str]) -> None:
        python = str(self.environment.python)
        if uv := tools.locate("uv"):
            command = [str(uv), "pip", "install", "--quiet", "--python", python]
        elif _pip_here():
            command = [sys.executable, "-I", "-m", "pip", "--python", python, *_QUIETLY]
        else:
            command = [python, "-I", "-m", "pip", *_QUIETLY]
        self._run([*command, *self.sources.options, *arguments])

    def _packages(self) -> Mapping[str, Any]:
        """The Python version and the packages that the environment's own interpreter sees in it."""
        report: dict[str, Any] = json.loads(
            self._run([str(self.environment.python), "-I", "-c", LIST_PACKAGES])
        )
        return report

    def _run(self, command: Sequence[str]) -> str:
        """The output of a command. Raises EngineMissingError with its last words if it fails."""
        own = {**self.environment.variables(), **self.environment.building}
        environ = {**self.sources.variables(os.environ), **own}
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                env={name: value for name, value in environ.items() if name not in OURS},
                pass_fds=(self.fd,),
                check=False,
            )
        except OSError as error:
            raise EngineMissingError(
                f"{self.environment.name}: {command[0]} cannot be started ({error.strerror})"
            ) from None
        if done.returncode:
            words = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
            raise EngineMissingError(
                f"the environment of {self.environment.name} cannot be made; the end of what "
                f"{Path(command[0]).name} said:\n" + "\n".join(f"    {w}" for w in words[-_LINES:])
            )
        return done.stdout

    def _try(self) -> None:
        """Import what the script imports: nobody has tried these versions together."""
        self.say("trying whether these versions go together")
        script = str(self.environment.script)
        self._run([str(self.environment.python), "-I", "-c", _IMPORT, script])

    def compile(self) -> Mapping[str, Any]:
        """Compile the tool's CUDA code, if it has any and this is the machine to do it on; what
        ready.json says of it. Raises EngineMissingError."""
        module = self.environment.compiles
        if module is None:
            return {}
        sees = [str(self.environment.python), "-I", "-c", _SEES_A_GPU]
        if tools.locate("nvcc") is None or self._run(sees).strip() != "True":
            lacks = "no nvcc on PATH" if tools.locate("nvcc") is None else "no GPU that torch sees"
            self.say(f"{lacks}: its CUDA code is compiled in the first job, for some minutes")
            return {}
        self.say("compiling its CUDA code, for some minutes")
        began = time.monotonic()
        self._run([str(self.environment.python), "-I", "-c", f"import {module}"])
        return {"compiled_seconds": round(time.monotonic() - began, 1)}


def _pip_here() -> bool:
    """Return whether this interpreter's pip can install for another one, as it can since 22.3."""
    if importlib.util.find_spec("pip") is None:
        return False
    release = metadata.version("pip").split(".")
    return (int(release[0]), int(release[1])) >= (22, 3)
