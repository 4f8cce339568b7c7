"""Environments on disk: made from the requirements lock, whole or not at all, and taken away.

However many ask for one, it is made once. The file lock on the environment is inherited by the
installers, so that nobody begins anew beside one whose parent was killed; what such a parent left
is removed by whoever comes next.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qpipe.core import file_lock
from qpipe.environments.environment import READY, Environment, root
from qpipe.environments.making import EnvironmentMaker
from qpipe.environments.package_sources import PackageSources
from qpipe.errors import UsageError
from qpipe.machine.filesystem import listed, remove_tree

_BLOCK = 512  # POSIX: the unit of st_blocks

_INDEX = PackageSources()


def install(
    environment: Environment,
    *,
    python: str | None = None,
    sources: PackageSources = _INDEX,
    say: Callable[[str], None],
) -> Mapping[str, Any]:
    """Make the environment unless it is there; what is in it.

    ``python`` is the interpreter to make it with (None: this one), ``sources`` where its packages
    come from. ``say`` takes what is being done, in words. Raises EngineMissingError if it cannot be
    made; then nothing is left of it.
    """
    fd = file_lock.acquire(environment.file_lock_path, wait=False)
    if fd is None:
        say("another process is making it: waiting for that")
        fd = file_lock.acquire(environment.file_lock_path)
    assert fd is not None
    try:
        if environment.problem() is None:
            if sources != _INDEX:
                say(f"is there as it was made; `qpipe engines remove {environment.name}` first")
            return environment.ready() or {}
        remove_tree(environment.home)
        try:
            base = python or sys.executable
            return EnvironmentMaker(environment, base, sources, fd, say).make()
        except BaseException:
            remove_tree(environment.home)
            raise
    finally:
        os.close(fd)


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
