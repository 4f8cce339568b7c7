"""Environments on disk: made from the requirements lock, whole or not at all, and taken away.

However many ask for one, it is made once. Every file is checked against the lock's hashes before it
is installed, by uv if it is there, else by pip. What the index has as source only is built by the
tools that the lock pins. The file lock on the environment is inherited by the installers, so that
nobody begins anew beside one whose parent was killed; what such a parent left is removed by whoever
comes next.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from qpipe.core import file_lock
from qpipe.environments import shared_torch
from qpipe.environments.environment import READY, SHARED, Environment, root
from qpipe.environments.requirements_lock import TORCH
from qpipe.errors import EngineMissingError, UsageError
from qpipe.machine import tools
from qpipe.machine.filesystem import listed, remove_tree

_BLOCK = 512  # POSIX: the unit of st_blocks

# pip's settings that hold for qpipe's own environment (the Makefile sets them) and not for this.
_OURS = (
    "PIP_CONSTRAINT",
    "PIP_BUILD_CONSTRAINT",
    "PIP_REQUIRE_VIRTUALENV",
    "PYTHONPATH",
    "VIRTUAL_ENV",
)

# How much of an installer's last words is shown.
_LINES = 15

_QUIETLY = ("--disable-pip-version-check", "--no-input", "install", "--quiet", "--no-compile")

_LIST = """
import json, platform, importlib.metadata as m
found = {d.metadata["Name"]: d.version for d in m.distributions()}
print(json.dumps({"python": platform.python_version(), "packages": found}))
"""


def install(
    environment: Environment, *, python: str | None = None, say: Callable[[str], None]
) -> Mapping[str, Any]:
    """Make the environment unless it is there; what is in it.

    ``python`` is the interpreter to make it with (None: this one). ``say`` takes what is being
    done, in words. Raises EngineMissingError if it cannot be made; then nothing is left of it.
    """
    fd = file_lock.acquire(environment.file_lock_path, wait=False)
    if fd is None:
        say("another process is making it: waiting for that")
        fd = file_lock.acquire(environment.file_lock_path)
    assert fd is not None
    try:
        if environment.problem() is None:
            return environment.ready() or {}
        remove_tree(environment.home)
        try:
            return _Making(environment, python or sys.executable, fd, say).make()
        except BaseException:
            remove_tree(environment.home)
            raise
    finally:
        os.close(fd)


@dataclass(frozen=True)
class _Making:
    environment: Environment
    base: str
    fd: int
    say: Callable[[str], None]

    def make(self) -> Mapping[str, Any]:
        version = self._base_version()
        self._venv()
        lock = self.environment.requirements_lock
        built = frozenset(self.environment.built)
        self._install(lock.requirements(only=lock.names - built), "--only-binary", ":all:")
        shared = self._torch(version)
        if built:
            self._install(lock.requirements(only=built), "--no-build-isolation")
        packages = self._packages()
        record = {"lock": lock.digest, "base": self.base, **shared, **packages}
        file_lock.write_atomic(self.environment.home / READY, json.dumps(record, indent=1).encode())
        return record

    def _base_version(self) -> tuple[int, int]:
        code = "import sys; print(*sys.version_info[:2])"
        major, minor = map(int, self._run([self.base, "-I", "-c", code]).split())
        first, last = self.environment.pythons
        if not (major == 3 and first <= minor <= last):
            raise EngineMissingError(
                f"{self.environment.name} needs Python 3.{first} to 3.{last}, and {self.base} is "
                f"{major}.{minor}: name another with --python PATH"
            )
        return major, minor

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

    def _torch(self, version: tuple[int, int]) -> Mapping[str, Any]:
        """Lend torch, or install it: what `Environment.ready` knows of it."""
        pinned, here = self.environment.requirements_lock.torch, shared_torch.version()
        if pinned is None:
            return {}
        if here is None or shared_torch.public(here) != pinned or version != sys.version_info[:2]:
            self.say(f"installing {TORCH} {pinned}, which is not here for that Python")
            self._pip([f"{TORCH}=={pinned}"])
            return {TORCH: pinned}
        self.say(f"sharing {TORCH} {here} with {shared_torch.lender()}")
        folder = self.environment.home / SHARED
        shared_torch.lend(folder, without=self.environment.requirements_lock.names - {TORCH})
        shared_torch.on_path(self.environment.home, folder)
        return {TORCH: here, "shared_with": shared_torch.lender()}

    def _pip(self, arguments: Sequence[str]) -> None:
        python = str(self.environment.python)
        if uv := tools.locate("uv"):
            command = [str(uv), "pip", "install", "--quiet", "--python", python]
        elif _pip_here():
            command = [sys.executable, "-I", "-m", "pip", "--python", python, *_QUIETLY]
        else:
            command = [python, "-I", "-m", "pip", *_QUIETLY]
        self._run([*command, *arguments])

    def _packages(self) -> Mapping[str, Any]:
        """The Python version and the packages that the environment's own interpreter sees in it."""
        report: dict[str, Any] = json.loads(
            self._run([str(self.environment.python), "-I", "-c", _LIST])
        )
        return report

    def _run(self, command: Sequence[str]) -> str:
        """The output of a command. Raises EngineMissingError with its last words if it fails."""
        environ = {name: value for name, value in os.environ.items() if name not in _OURS}
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                env={**environ, **self.environment.building},
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


def _pip_here() -> bool:
    """Return whether this interpreter's pip can install for another one, as it can since 22.3."""
    if importlib.util.find_spec("pip") is None:
        return False
    release = metadata.version("pip").split(".")
    return (int(release[0]), int(release[1])) >= (22, 3)


@dataclass(frozen=True)
class InstalledEnvironment:
    """An environment on disk, whole or not. One that is not ``current`` is of an older lock, of
    another platform, or of an engine that is no more."""

    name: str
    home: Path
    current: bool

    @property
    def bytes(self) -> int:
        """Bytes that it takes on disk; what is shared through symbolic links belongs to others."""
        return sum(
            os.lstat(os.path.join(folder, name)).st_blocks * _BLOCK  # noqa: PTH118  some 20,000
            for folder, folders, files in os.walk(self.home)
            for name in (*folders, *files)
        )


def installed(environments: Iterable[Environment]) -> list[InstalledEnvironment]:
    """All of this user's; ``environments`` are those of the engines that there are."""
    current = {environment.home for environment in environments}
    return [
        InstalledEnvironment(name, home, home in current)
        for name in sorted(listed(root()))
        for home in sorted((root() / name).glob("*-*"))
        if home.is_dir()
    ]


def remove(environment: InstalledEnvironment) -> None:
    """Take it away. Raises UsageError if it is being made or worked in."""
    path = environment.home.with_name(environment.home.name + ".lock")
    fd = file_lock.acquire(path, wait=False)
    if fd is None:
        raise UsageError(
            f"{environment.name}: {environment.home} is in use by another process; wait until it "
            "has ended, then give the same command again"
        )
    try:
        (environment.home / READY).unlink(missing_ok=True)  # from here on it is a leftover
        remove_tree(environment.home)
        path.unlink()
    finally:
        os.close(fd)
