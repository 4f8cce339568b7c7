"""A Python on some machine, as far as packages must suit it: of a lock the entries that are for it,
of files those that install there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from qpipe.environments.requirements_lock import LockedPackage

if TYPE_CHECKING:
    from packaging.tags import Tag

PLATFORMS = ("linux-x86_64", "linux-aarch64")

# The glibc releases that wheels are tagged with, up to the one that torch's own wheels need.
_GLIBC = (28, 27, 26, 24, 17, 12, 5)


@dataclass(frozen=True)
class TargetPython:
    """CPython 3.``minor`` on ``platform``; ``wheels`` are the platforms that a wheel may be tagged
    with, the most wanted first."""

    minor: int
    platform: str
    wheels: tuple[str, ...]

    @classmethod
    def here(cls, minor: int) -> TargetPython:
        """Return an interpreter of this machine."""
        import sysconfig

        from packaging.tags import platform_tags

        return cls(minor, sysconfig.get_platform(), tuple(platform_tags()))

    @classmethod
    def elsewhere(cls, minor: int, platform: str) -> TargetPython:
        """Return one on another machine, whose glibc is 2.28 or newer."""
        machine = platform.rpartition("-")[2]
        old = [f"manylinux2014_{machine}", f"manylinux1_{machine}", f"linux_{machine}"]
        return cls(minor, platform, (*(f"manylinux_2_{n}_{machine}" for n in _GLIBC), *old))

    def __str__(self) -> str:
        return f"Python 3.{self.minor} on {self.platform}"

    def needs(self, package: LockedPackage) -> bool:
        """Tell whether an entry of a lock is for it, by the entry's marker."""
        from packaging.markers import Marker, default_environment

        if package.marker is None:
            return True
        system, _, machine = self.platform.partition("-")
        own = {str(name): str(value) for name, value in default_environment().items()}
        if self.platform in PLATFORMS:
            own |= {"sys_platform": system, "platform_system": "Linux", "os_name": "posix"}
            own["platform_machine"] = machine
        own |= {"python_version": f"3.{self.minor}", "python_full_version": f"3.{self.minor}.0"}
        return Marker(package.marker).evaluate(own)

    def takes(self, file: str) -> bool:
        """Tell whether a wheel's tags are among its own. True for an archive of source."""
        from packaging.utils import InvalidWheelFilename, parse_wheel_filename

        if not file.endswith(".whl"):
            return True
        try:
            return not self._tags.isdisjoint(parse_wheel_filename(file)[3])
        except InvalidWheelFilename:
            return False

    @cached_property
    def _tags(self) -> frozenset[Tag]:
        from packaging.tags import compatible_tags, cpython_tags

        version = (3, self.minor)
        own = f"cp3{self.minor}"
        return frozenset(
            (
                *cpython_tags(version, abis=[own], platforms=self.wheels),
                *compatible_tags(version, interpreter=own, platforms=self.wheels),
            )
        )

    @property
    def pip_options(self) -> Sequence[str]:
        """The options by which `pip download` looks for wheels for it."""
        platforms = [word for name in self.wheels for word in ("--platform", name)]
        return ("--python-version", f"3.{self.minor}", "--implementation", "cp", *platforms)


def minor_version(version: str) -> int | None:
    """Return 12 of ``3.12``; None of what is no version of Python 3."""
    match = re.fullmatch(r"3\.(\d{1,2})(?:\.\d+)?", version)
    return int(match[1]) if match else None
