"""A folder of wheels and archives of source, from which an environment is made without an index."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from qpipe.core.key import file_sha256
from qpipe.environments.requirements_lock import LockedPackage, normalized
from qpipe.environments.shared_torch import is_kin
from qpipe.environments.target_python import TargetPython
from qpipe.errors import EngineMissingError, UsageError
from qpipe.machine.filesystem import listed

_AS_HERE = "; --torch here does with what the torch that is here has of it"

# How many of several faults are told.
_MOST = 5

ENDINGS = (".whl", ".tar.gz", ".zip")
"""How the names of its files end."""


@dataclass(frozen=True)
class WheelFolder:
    """The files in ``path``, by the distribution and version in their names.

    Raises UsageError for a folder that is not there.
    """

    path: Path

    def __post_init__(self) -> None:
        if not self.path.is_dir():
            raise UsageError(f"{self.path}: there is no such folder; it is to hold wheels")

    @cached_property
    def _files(self) -> dict[tuple[str, str], list[Path]]:
        files: dict[tuple[str, str], list[Path]] = {}
        for name in sorted(listed(self.path)):
            if (what := _named(name)) is not None:
                files.setdefault(what, []).append(self.path / name)
        return files

    def of(self, package: LockedPackage, target: TargetPython) -> Path | None:
        """Return the file that the lock knows and ``target`` takes; None if it is not there."""
        return next(
            (
                file
                for file in self._called(package)
                if target.takes(file.name) and file_sha256(file) in package.hashes
            ),
            None,
        )

    def has(self, name: str, version: str, target: TargetPython) -> bool:
        """Tell whether any build of this version is there that ``target`` takes, by its name."""
        return any(
            (known, release.partition("+")[0]) == (name, version) and target.takes(file.name)
            for (known, release), files in self._files.items()
            for file in files
        )

    def names(self, package: LockedPackage) -> bool:
        """Tell whether any file is called as one of this package, be it right or not."""
        return bool(self._called(package))

    def require(self, packages: Iterable[LockedPackage], target: TargetPython) -> None:
        """Raise EngineMissingError that names each file which is missing, is not the one of the
        lock, or is for another Python."""
        packages = list(packages)
        faults = [fault for package in packages if (fault := self._fault(package, target))]
        faults.sort(key=lambda fault: ": no file" in fault)  # what is wrong before what is missing
        if faults:
            more = [f"and {len(faults) - _MOST} more"] if len(faults) > _MOST else []
            raise EngineMissingError(
                f"{self.path} lacks {len(faults)} of {len(packages)} packages for {target}:\n"
                + "\n".join(f"    {words}" for words in [*faults[:_MOST], *more])
            )

    def _fault(self, package: LockedPackage, target: TargetPython) -> str | None:
        if self.of(package, target) is not None:
            return None
        what = f"{package.name} {package.version}"
        files = self._called(package)
        if not files:
            return f"{what}: no file{_AS_HERE if is_kin(package.name) else ''}"
        fitting = [file for file in files if target.takes(file.name)]
        if not fitting:
            return f"{what}: {files[0].name} is not for {target}"
        return (
            f"{what}: {fitting[0].name} has another SHA-256 than the lock says "
            f"({file_sha256(fitting[0])[:16]}…); fetch it again"
        )

    def _called(self, package: LockedPackage) -> list[Path]:
        return self._files.get((package.name, package.version), [])


def _named(file: str) -> tuple[str, str] | None:
    """The normalized name and the version in the name of a wheel or an archive."""
    from packaging.utils import (
        InvalidSdistFilename,
        InvalidWheelFilename,
        parse_sdist_filename,
        parse_wheel_filename,
    )

    try:
        if file.endswith(".whl"):
            name, version = parse_wheel_filename(file)[:2]
        else:
            name, version = parse_sdist_filename(file)
    except (InvalidWheelFilename, InvalidSdistFilename):
        return None
    return normalized(name), str(version)
