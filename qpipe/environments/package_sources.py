"""Where an environment's packages come from: an index, a folder of wheels, the interpreter here."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qpipe.environments import shared_torch
from qpipe.environments.environment import Environment
from qpipe.environments.requirements_lock import TORCH, LockedPackage
from qpipe.environments.target_python import TargetPython
from qpipe.environments.wheel_folder import WheelFolder
from qpipe.errors import EngineMissingError

# Settings of pip and uv that name other places than the folder.
_PLACES = ("FIND_LINKS", "INDEX_URL", "EXTRA_INDEX_URL", "INDEX", "DEFAULT_INDEX", "CONSTRAINT")


@dataclass(frozen=True)
class PackageOrigins:
    """The packages of a lock that are ``installed``, torch apart, those that come from the
    interpreter here (``lent``), those that nobody has who has this torch (``absent``), and the
    torch to be installed (None: none, or it is lent)."""

    installed: frozenset[str]
    lent: frozenset[str]
    absent: frozenset[str] = frozenset()
    torch: str | None = None


@dataclass(frozen=True)
class PackageSources:
    """The places: by default the index, and for torch here if it has the lock's version.

    ``folder``: packages come from it and from nowhere else. ``torch_here``: torch and what goes
    with its build come from this interpreter, whatever their versions. ``rest_here``: so does what
    is not in the folder.
    """

    folder: WheelFolder | None = None
    torch_here: bool = False
    rest_here: bool = False

    @property
    def lends(self) -> bool:
        """True if packages may come from here whose versions are not the lock's."""
        return self.torch_here or self.rest_here

    @property
    def options(self) -> Sequence[str]:
        """The options of pip and uv."""
        if self.folder is None:
            return ()
        return ("--no-index", "--find-links", str(self.folder.path.absolute()))

    def variables(self, environ: Mapping[str, str]) -> dict[str, str]:
        """The environment of pip and uv: of those that name other places, none beside a folder."""
        if self.folder is None:
            return dict(environ)
        other = {f"{tool}_{name}" for tool in ("PIP", "UV") for name in _PLACES}
        kept = {name: value for name, value in environ.items() if name not in other}
        return {**kept, "PIP_CONFIG_FILE": os.devnull, "UV_NO_CONFIG": "1"}

    def sort(self, environment: Environment, base: str, target: TargetPython) -> PackageOrigins:
        """Tell for each package of a lock where it comes from, for ``base``, which is ``target``.

        Raises EngineMissingError for what is nowhere, and files in the folder that are not right.
        """
        lock = environment.requirements_lock
        needed = [package for package in lock.entries if target.needs(package)]
        kin = frozenset(p.name for p in needed if shared_torch.is_kin(p.name))
        ours = (3, target.minor) == sys.version_info[:2]
        if self.lends and not ours:
            raise EngineMissingError(
                f"{base} is Python 3.{target.minor}: what {sys.executable} has can be shared with "
                f"Python {sys.version_info[0]}.{sys.version_info[1]} alone"
            )
        lent: frozenset[str] = frozenset()
        absent: frozenset[str] = frozenset()
        if self.torch_here and kin:
            lent = frozenset(name for name in kin if shared_torch.version(name) is not None)
            absent = kin - lent
        elif ours and lock.torch is not None and _is_here(lock.torch, cuda=environment.cuda):
            lent = frozenset({TORCH})
        if TORCH in absent:
            raise EngineMissingError(
                f"there is no torch in {sys.executable} to share: leave --torch out, or run this "
                "with the Python that has it"
            )
        if self.rest_here:
            lent |= self._rest(needed, kin, frozenset(environment.built))
        wanted = [p for p in needed if p.name not in lent | absent and p.name != TORCH]
        torch = None if TORCH in lent else lock.torch
        if self.folder is not None:
            self._require(self.folder, wanted, torch, target)
        return PackageOrigins(frozenset(p.name for p in wanted), lent, absent, torch)

    def _rest(
        self, needed: Sequence[LockedPackage], kin: frozenset[str], built: frozenset[str]
    ) -> frozenset[str]:
        """Packages that the folder has no file of and this interpreter has."""
        return frozenset(
            package.name
            for package in needed
            if package.name not in kin | built
            and not (self.folder is not None and self.folder.names(package))
            and shared_torch.version(package.name) is not None
        )

    def _require(
        self,
        folder: WheelFolder,
        wanted: Sequence[LockedPackage],
        torch: str | None,
        target: TargetPython,
    ) -> None:
        if torch is not None and not folder.has(TORCH, torch, target):
            here = shared_torch.version()
            has = f"{sys.executable} has {here}" if here else f"{sys.executable} has none"
            raise EngineMissingError(
                f"{folder.path} has no torch {torch} for {target}, and {has}: share the one that "
                "is here by --torch here, or fetch one: `qpipe engines fetch … --cuda VERSION`"
            )
        folder.require(wanted, target)


def _is_here(pinned: str, *, cuda: bool) -> bool:
    """Return whether the torch here is that version, and a build for CUDA where one is needed."""
    here = shared_torch.version()
    if here is None or (cuda and here.endswith("+cpu")):
        return False
    return shared_torch.public(here) == pinned
