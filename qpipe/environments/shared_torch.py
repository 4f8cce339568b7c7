"""The torch that is installed here, lent to an environment: gigabytes that need no second copy.

Links to it stand in a folder of their own, behind the environment's own packages on the module
path, so nothing that is installed there can write through them. Other packages are lent likewise
where there is no network to have them from.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from qpipe.environments.requirements_lock import TORCH, normalized

# What is built for one release of torch, or comes with its build.
_KIN = re.compile(r"torch|torchvision|torchaudio|triton|(pytorch-triton|nvidia|cuda)-.*")


def is_kin(name: str) -> bool:
    """Tell whether a distribution (normalized name) goes with torch's build: triton, nvidia-*, …"""
    return _KIN.fullmatch(name) is not None


def version(name: str = TORCH) -> str | None:
    """The version of a distribution here, with its build (``2.13.0+cpu``); None: it is not here."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def public(release: str) -> str:
    """A version without its build."""
    return release.partition("+")[0]


def lend(target: Path, names: Iterable[str], *, without: frozenset[str]) -> None:
    """Link these distributions, and what they need beyond those ``without``, into a new folder."""
    target.mkdir()
    for distribution in _closure(names, without=without):
        for entry in _entries(distribution):
            source = Path(str(distribution.locate_file(entry))).resolve()
            if not (target / entry).is_symlink():  # several distributions may share a namespace
                (target / entry).symlink_to(source)


def lender(name: str = TORCH) -> str:
    """The folder that a distribution is in."""
    return str(Path(str(metadata.distribution(name).locate_file(""))).resolve())


def _closure(names: Iterable[str], *, without: frozenset[str]) -> list[metadata.Distribution]:
    distributions: dict[str, metadata.Distribution] = {}
    front = sorted(names)
    while front:
        current = front.pop()
        if current in distributions:
            continue
        try:
            distributions[current] = metadata.distribution(current)
        except metadata.PackageNotFoundError:
            continue  # for another platform
        needed = [text for text in distributions[current].requires or () if "extra ==" not in text]
        wanted = {normalized(re.split(r"[\s\[;<>=!~(]", text, maxsplit=1)[0]) for text in needed}
        front += wanted - without
    return list(distributions.values())


def _entries(distribution: metadata.Distribution) -> list[str]:
    """The names of its files and folders beside the other packages."""
    first = {path.parts[0] for path in distribution.files or ()}
    return sorted(first - {"..", "__pycache__"})


def site_packages(home: Path) -> Path:
    """The folder of an environment's packages."""
    (folder,) = (home / "lib").glob("python3*/site-packages")
    return folder


def on_path(home: Path, folder: Path) -> None:
    """Let an environment import from ``folder``, after its own packages."""
    (site_packages(home) / "shared.pth").write_text(f"{folder}\n")
