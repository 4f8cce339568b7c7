"""Gathering what environments are made of, for a machine without a network: `qpipe engines fetch`.

pip chooses and downloads, a package at a time, by the settings that it has here (an index of one's
own, a proxy); each file is checked against the lock. What is in the folder already is not asked for
again, so an interrupted fetch goes on.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from qpipe.environments.environment import Environment
from qpipe.environments.making import OURS
from qpipe.environments.requirements_lock import TORCH, LockedPackage
from qpipe.environments.shared_torch import is_kin
from qpipe.environments.target_python import TargetPython
from qpipe.environments.wheel_folder import ENDINGS, WheelFolder
from qpipe.errors import EngineMissingError, OutOfSpaceError, SourceError, UsageError
from qpipe.machine.filesystem import FULL_IN_WORDS, listed

# What packages for CUDA are called after: nvidia-cudnn-cu13, and cuda-toolkit 13.0.
_CUDA_SUFFIX = re.compile(r"nvidia-.*-cu(\d+)")
_TOOLKIT = "cuda-toolkit"

_LINES = 6


@dataclass(frozen=True)
class Fetched:
    """The files of one environment in a folder: how many, of how many bytes, and how many of them
    came now."""

    files: int
    bytes: int
    new: int


@dataclass(frozen=True)
class Fetching:
    """Fill ``folder`` with what environments need on ``target``, torch for ``cuda`` (``13``,
    ``12.8``) with it; None: without torch. ``say`` takes what is being done.

    Raises UsageError for a folder that holds anything else.
    """

    folder: Path
    target: TargetPython
    cuda: str | None
    say: Callable[[str], None]

    def __post_init__(self) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise UsageError(f"--to {self.folder}: it is a file; name a folder")
        other = [name for name in sorted(listed(self.folder)) if not name.endswith(ENDINGS)]
        if other:
            raise UsageError(
                f"--to {self.folder}: it holds other things than wheels ({', '.join(other[:3])}); "
                "name an empty folder, or one that was fetched into before"
            )
        self.folder.mkdir(parents=True, exist_ok=True)

    def fetch(self, environment: Environment) -> Fetched:
        """Fetch what is not there.

        Raises EngineMissingError for what the index does not have, SourceError for one that cannot
        be reached, OutOfSpaceError.
        """
        first, last = environment.pythons
        if not first <= self.target.minor <= last:
            raise UsageError(
                f"--python 3.{self.target.minor}: {environment.name} needs Python 3.{first} to "
                f"3.{last}"
            )
        packages = [
            package
            for package in environment.requirements_lock.entries
            if self.target.needs(package) and package.name != TORCH and self._is_wanted(package)
        ]
        pinned = environment.requirements_lock.torch
        torch = self._torch(pinned) if pinned is not None and self.cuda is not None else []
        there = WheelFolder(self.folder)
        missing = [p for p in packages if there.of(p, self.target) is None]
        for number, package in enumerate(missing, 1):
            self.say(f"{number} of {len(missing)}: {package.name} {package.version}")
            self._package(package, environment)
        after = WheelFolder(self.folder)
        after.require(packages, self.target)
        files = [path for p in packages if (path := after.of(p, self.target)) is not None]
        files += [self.folder / name for name in torch]
        return Fetched(len(files), sum(file.stat().st_size for file in files), len(missing))

    def _is_wanted(self, package: LockedPackage) -> bool:
        # What goes with a build of torch comes with torch, or is where that is.
        return self.cuda is not None or not is_kin(package.name)

    def _package(self, package: LockedPackage, environment: Environment) -> None:
        options = ["--require-hashes", "--no-deps", "-r"]
        source = package.name in environment.built
        with TemporaryDirectory(prefix="qpipe-fetch-") as name:
            file = Path(name) / "requirements.txt"
            # pip 23.2.1 takes a marker for a question about the Python that pip itself runs in.
            file.write_text(re.sub(r"\s*;[^\\\n]*", " ", package.text, count=1))
            # pip reads a source's name and version by running its setup.py, with what is here.
            how = ["--no-binary", ":all:", "--no-build-isolation"] if source else self._wheels()
            self._download([*how, *options, str(file)], package, environment.building)

    def _wheels(self) -> Sequence[str]:
        return ["--only-binary", ":all:", *self.target.pip_options]

    def _torch(self, pinned: str) -> list[str]:
        """The names of the files of torch for CUDA and all that belongs to its build."""
        self.say(f"{TORCH} {pinned} for CUDA {self.cuda}")
        wanted = [f"{TORCH}=={pinned}", "--only-binary", ":all:", *self.target.pip_options]
        with TemporaryDirectory(prefix="qpipe-fetch-") as name:
            report = Path(name) / "report.json"
            dry = ["install", "--dry-run", "--ignore-installed", "--target", name]
            self._pip([*dry, "--report", str(report), *wanted], f"{TORCH} {pinned}", {})
            chosen = _chosen(json.loads(report.read_bytes()))
        self._require_cuda(pinned, {name: version for name, version, *_ in chosen})
        files = []
        for name, version, url, sha256 in chosen:
            if is_kin(name):
                self.say(f"{name} {version}")
                address = f"{name} @ {url}#sha256={sha256}"
                how = ["--no-deps", *self._wheels(), address]
                self._pip(self._into(how), f"{name} {version}", {})
                files.append(url.rpartition("/")[2].replace("%2B", "+"))
        return files

    def _require_cuda(self, pinned: str, versions: Mapping[str, str]) -> None:
        """Raise EngineMissingError unless torch's requirements are those of the CUDA asked for."""
        built = versions.get(_TOOLKIT)
        if built is None:
            majors = {match[1] for name in versions if (match := _CUDA_SUFFIX.fullmatch(name))}
            built = min(majors, default=None)
        if built is not None and f"{built}.".startswith(f"{self.cuda}."):
            return
        is_for = "without CUDA" if built is None else f"for CUDA {built}"
        raise EngineMissingError(
            f"--cuda {self.cuda}: torch {pinned} at this index is one {is_for}; name an index that "
            "has the other (PIP_INDEX_URL, as pytorch.org says), or leave --cuda out and share the "
            "torch that is there: `qpipe engines install NAME --from FOLDER --torch here`"
        )

    def _download(
        self, arguments: Sequence[str], package: LockedPackage, building: Mapping[str, str]
    ) -> None:
        self._pip(self._into(arguments), f"{package.name} {package.version}", building)

    def _into(self, arguments: Sequence[str]) -> list[str]:
        return ["download", "--dest", str(self.folder), *arguments]

    def _pip(self, arguments: Sequence[str], what: str, building: Mapping[str, str]) -> None:
        kept = {name: value for name, value in os.environ.items() if name not in OURS}
        done = subprocess.run(
            [sys.executable, "-I", "-m", "pip", "--disable-pip-version-check", "--no-input",
             *arguments, "--quiet"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env={**kept, **building},
            check=False,
        )  # fmt: skip
        if done.returncode:
            raise self._failed(what, done.stderr or done.stdout)

    def _failed(self, what: str, said: str) -> Exception:
        lines = [line for line in said.splitlines() if line.strip()][-_LINES:]
        end = "\n".join(f"    {line}" for line in lines)
        if FULL_IN_WORDS in said:
            return OutOfSpaceError(
                f"{what}: the disk of {self.folder} or of pip's cache is full; what is there "
                "stays, and the same command goes on from it"
            )
        if "No module named pip" in said:
            return EngineMissingError(f"{sys.executable} has no pip, which fetches: add it")
        unreachable = ("NewConnectionError", "ConnectTimeout", "ProxyError", "Max retries exceeded")
        if any(word in said for word in unreachable) or "Failed to establish" in said:
            return SourceError(
                f"{what}: the index cannot be reached; fetch where there is a network:\n{end}"
            )
        if "No matching distribution" in said:
            # pip 23.2.1 says no more of an index that it did not reach, once retries are off.
            or_not = ", or cannot be reached" if "from versions: none" in said else ""
            return EngineMissingError(
                f"{what}: the index that pip asks has no file of it for {self.target}{or_not}:"
                f"\n{end}"
            )
        why = f"{what} cannot be fetched"
        if "No module named" in said or "BackendUnavailable" in said:
            why += " (pip runs setup.py of what is source only, which imports torch and setuptools)"
        return EngineMissingError(f"{why}; the end of what pip said:\n{end}")


def _chosen(report: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Names, versions, addresses and SHA-256 of what pip would install, by its report."""
    return [
        (
            str(item["metadata"]["name"]).lower().replace("_", "-"),
            str(item["metadata"]["version"]),
            str(item["download_info"]["url"]),
            str(item["download_info"]["archive_info"]["hashes"]["sha256"]),
        )
        for item in report["install"]
    ]
