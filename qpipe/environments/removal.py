"""What environments take on disk, and taking one away: those of older locks too."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from qpipe.core import lock
from qpipe.environments.environment import READY, Environment, root
from qpipe.errors import UsageError
from qpipe.machine.folders import listed, remove_tree

_BLOCK = 512  # POSIX: the unit of st_blocks


@dataclass(frozen=True)
class Installed:
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


def installed(known: Iterable[Environment]) -> list[Installed]:
    """All of this user's; ``known`` are those of the engines that there are."""
    current = {environment.home for environment in known}
    return [
        Installed(name, home, home in current)
        for name in sorted(listed(root()))
        for home in sorted((root() / name).glob("*-*"))
        if home.is_dir()
    ]


def remove(found: Installed) -> None:
    """Take it away. Raises UsageError if it is being made or worked in."""
    path = found.home.with_name(found.home.name + ".lock")
    fd = lock.acquire(path, wait=False)
    if fd is None:
        raise UsageError(
            f"{found.name}: {found.home} is in use by another process; wait until it has ended, "
            "then give the same command again"
        )
    try:
        (found.home / READY).unlink(missing_ok=True)  # from here on it is a leftover
        remove_tree(found.home)
        path.unlink()
    finally:
        os.close(fd)
