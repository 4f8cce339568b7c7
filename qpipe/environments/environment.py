"""An engine's own environment: where it lies, and whether it can be used.

Environments lie outside of the source tree and of any store, shared by all runs and checkouts of
a user: ``QPIPE_ENGINES``, else ``qpipe/engines`` below ``XDG_DATA_HOME`` (``~/.local/share``). Each
is a folder named after the digest of its requirements lock, so a new one is a new environment and
an old one stays what it was. What makes one writes ``ready.json`` last: without it a folder is a
leftover.

::

    QPIPE_ENGINES/
      NAME/DIGEST-PLATFORM/          a virtual environment
        ready.json                   what is in it; there once it is whole
        shared/                      links to the torch of the interpreter that made it
        extensions/                  CUDA code that torch compiled for it
      NAME/DIGEST-PLATFORM.lock      held (flock) by whoever makes it
"""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from qpipe.core.key import Json
from qpipe.environments.requirements_lock import RequirementsLock, normalized, read
from qpipe.environments.shared_torch import public
from qpipe.errors import EngineMissingError

READY = "ready.json"
SHARED = "shared"
EXTENSIONS = "extensions"

LIST_PACKAGES = """
import json, platform, importlib.metadata as m
found = {}
for d in m.distributions():
    found.setdefault(d.metadata["Name"], d.version)
print(json.dumps({"python": platform.python_version(), "packages": found}))
"""
"""A program that prints the Python version and the packages that an interpreter sees."""


def root() -> Path:
    """The folder of all environments of this user."""
    if named := os.environ.get("QPIPE_ENGINES"):
        return Path(named).expanduser().absolute()
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(data).expanduser() / "qpipe" / "engines"


@dataclass(frozen=True)
class Environment:
    """``folder`` has NAME.in (what is wanted), NAME.lock and the script NAME.py, where hyphens of
    ``name`` are underscores.

    ``built`` are the distributions that the index has as source only: they are built, without
    isolation, by tools that the lock pins too, with ``building`` in the process environment.
    ``pythons`` are the first and the last minor version of Python 3 that will do. ``compiles`` is
    a module whose import compiles CUDA code by nvcc, if that was not done before. ``shares`` is the
    name of the script, where several environments run one; ``asked_as`` what people call it, where
    the machine chooses among several. ``cuda``: torch has to be a build for CUDA.
    """

    name: str
    folder: Path
    built: tuple[str, ...] = ()
    building: Mapping[str, str] = field(default_factory=dict)
    pythons: tuple[int, int] = (10, 13)
    compiles: str | None = None
    shares: str | None = None
    asked_as: str | None = None
    cuda: bool = False

    @cached_property
    def requirements_lock(self) -> RequirementsLock:
        """Raises EngineMissingError if it is not there or not whole."""
        return read(self.requirements_lock_path)

    @property
    def requirements_lock_path(self) -> Path:
        """Every distribution of it, with hashes."""
        return self._file("lock")

    @property
    def requirements(self) -> Path:
        """The direct requirements, of which the lock is made."""
        return self._file("in")

    @property
    def overrides(self) -> Path:
        """Requirements that replace those of the same name anywhere, if the file is there."""
        return self._file("override")

    @property
    def script(self) -> Path:
        """The script that the environment's Python runs (`qpipe.environments.child_runtime`)."""
        return self.folder / f"{(self.shares or self.name).replace('-', '_')}.py"

    def _file(self, suffix: str) -> Path:
        return self.folder / f"{self.name.replace('-', '_')}.{suffix}"

    @property
    def home(self) -> Path:
        """The folder where the environment is, or would be."""
        return root() / self.name / f"{self.requirements_lock.digest}-{sysconfig.get_platform()}"

    @property
    def file_lock_path(self) -> Path:
        """Held by whoever makes it."""
        return self.home.with_name(self.home.name + ".lock")

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.home / "bin" / "python"

    @property
    def command(self) -> str:
        """The command that makes the environment."""
        return f"qpipe engines install {self.asked_as or self.name}"

    def ready(self) -> Mapping[str, Any] | None:
        """The contents (`qpipe.environments.installation`), None if it is not there as a whole."""
        try:
            record = json.loads((self.home / READY).read_bytes())
        except (OSError, ValueError, RecursionError):
            return None
        return record if isinstance(record, dict) else None

    def problem(self) -> str | None:
        """Why it cannot be used, with the command that helps, or None."""
        record = self.ready()
        if record is None:
            return f"its environment is not installed: {self.command}"
        if not self.python.exists():
            return f"the Python that its environment was made with is gone: {self.command}"
        for link in (self.home / SHARED).glob("*"):
            if not link.exists():
                return (
                    f"its environment shares {link.name} with {record['shared_with']}, "
                    f"where it is no more: {self.command}"
                )
        if not self.file_lock_path.exists() and not os.access(self.home.parent, os.W_OK):
            return f"its environment was copied without {self.file_lock_path}: touch it"
        return None

    def differing(self) -> Mapping[str, str]:
        """The packages in it that have another version than the lock says, with that version
        (without its build): none where it was made of the lock alone.

        Raises EngineMissingError if its interpreter cannot be asked.
        """
        installed = {normalized(name): public(v) for name, v in self._packages().items()}
        locked: dict[str, set[str]] = {}
        for entry in self.requirements_lock.entries:
            locked.setdefault(entry.name, set()).add(entry.version)
        return {
            name: installed[name]
            for name in sorted(locked.keys() & installed.keys())
            if installed[name] not in {public(version) for version in locked[name]}
        }

    def fingerprint(self, tool: str) -> Mapping[str, Json]:
        """Version of the distribution ``tool`` and of all it works with, for keys: the digest of
        the requirements lock, and the packages that are there in other versions."""
        lock = self.requirements_lock
        own: dict[str, Json] = {"name": tool, "version": lock.version(tool), "lock": lock.digest}
        differing = dict(self.differing())
        return {**own, "here": differing} if differing else own

    def _packages(self) -> Mapping[str, str]:
        record = self.ready()
        if record is None:
            return {}
        if "packages" not in record:  # it was made by hand
            record = _asked(str(self.python))
        packages: Mapping[str, str] = record["packages"]
        return packages

    def variables(self) -> dict[str, str]:
        """The environment variables that its processes get besides those that there are."""
        own = {"PATH": f"{self.home / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
        # torch 2.13.0 keeps what it compiles under ~/.cache by its Python and CUDA, so that two
        # releases of torch get each other's; and it makes a lock file there, so it must be ours.
        if "TORCH_EXTENSIONS_DIR" not in os.environ and os.access(self.home, os.W_OK):
            own["TORCH_EXTENSIONS_DIR"] = str(self.home / EXTENSIONS)
        return own


@cache
def _asked(python: str) -> Mapping[str, Any]:
    done = subprocess.run(
        [python, "-I", "-c", LIST_PACKAGES], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise EngineMissingError(f"{python} does not run: {done.stderr.strip()[-200:]}")
    record: dict[str, Any] = json.loads(done.stdout)
    return record
