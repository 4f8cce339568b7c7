"""The limits of the control groups that this process is in: cgroup v1 and v2, under Linux.

A limit of a group holds for all groups inside it, so the smallest on the way up counts. What lies
above the mount point (a container sees only its own part of the tree) cannot be seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

ROOT = Path("/")


class _Hierarchy(NamedTuple):
    """A mounted tree of groups: version 1 or 2, the mount point, and the group mounted there."""

    version: int
    mounted: Path
    top: PurePosixPath


def cpu_quota(root: Path = ROOT) -> float | None:
    """CPU seconds a second that the process may take in all, 1.5 say; None: no limit.

    ``root`` is the folder that holds proc and sys.
    """
    quotas = [quota for group, version in _groups("cpu", root) if (quota := _quota(group, version))]
    return min(quotas, default=None)


def memory_limit(root: Path = ROOT) -> int | None:
    """Bytes of memory that the process and its neighbours in its groups may take; None: no limit.

    cgroup v1 writes a number beyond any memory where it has none.
    """
    return min((limit for limit, _ in _memory_limits(root)), default=None)


def memory_group(root: Path = ROOT) -> str:
    """A name, among all groups of the host, of that whose `memory_limit` bounds this process; empty
    if there is no limit."""
    _, group = min(_memory_limits(root), default=(0, None))
    if group is None:
        return ""
    state = group.stat()
    return f"{state.st_dev}:{state.st_ino}"


def _memory_limits(root: Path) -> list[tuple[int, Path]]:
    names = {1: "memory.limit_in_bytes", 2: "memory.max"}
    return [
        (int(text), group)
        for group, version in _groups("memory", root)
        if (text := _text(group / names[version])).isdecimal()
    ]


def _quota(group: Path, version: int) -> float | None:
    if version == 2:
        quota, _, period = _text(group / "cpu.max").partition(" ")
    else:
        quota, period = (_text(group / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    if not (quota.isdecimal() and period.isdecimal()) or int(period) == 0:
        return None  # "max" or -1: none is set
    return int(quota) / int(period) or None


def _groups(controller: str, root: Path) -> Iterator[tuple[Path, int]]:
    """The folders of the groups that the process is in, its own first, with their version."""
    for hierarchy in _hierarchies(controller, root):
        own = _own_group(controller if hierarchy.version == 1 else "", root)
        if own is None:
            continue
        inner = own.relative_to(hierarchy.top) if own.is_relative_to(hierarchy.top) else own
        # A group outside of what is mounted (`/../x`), or one of the host's names for it.
        folder = hierarchy.mounted.joinpath(*(part for part in inner.parts if part != "/"))
        if ".." in inner.parts or not folder.is_dir():
            folder = hierarchy.mounted
        while folder != hierarchy.mounted:
            yield folder, hierarchy.version
            folder = folder.parent
        yield hierarchy.mounted, hierarchy.version


def _hierarchies(controller: str, root: Path) -> Iterator[_Hierarchy]:
    """The mounted trees with this controller; of version 2 any, whichever it has.

    A line of mountinfo: id, parent, device, mounted folder, mount point, options, any number of
    tags, ``-``, type, source, options of the file system (proc(5)).
    """
    for line in _text(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        mount, system = before.split(), after.split()
        if len(mount) < 5 or len(system) < 3:
            continue
        folder = root / mount[4].lstrip("/")
        if system[0] == "cgroup2":
            yield _Hierarchy(2, folder, PurePosixPath(mount[3]))
        elif system[0] == "cgroup" and controller in system[2].split(","):
            yield _Hierarchy(1, folder, PurePosixPath(mount[3]))


def _own_group(controller: str, root: Path) -> PurePosixPath | None:
    """The process's group, from ``ID:CONTROLLERS:PATH``; version 2 has ID 0 and no controllers."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controller in controllers.split(",") if controller else number == "0":
            return PurePosixPath(path)
    return None


def _text(path: Path) -> str:
    """The text of a file; empty where there is none, or none for us (macOS has no /proc)."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
