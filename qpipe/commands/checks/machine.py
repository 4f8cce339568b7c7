"""Python, processor, memory, accelerators, and the file system of the store."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Sequence
from pathlib import Path

from qpipe.commands.checks.check import Check
from qpipe.core import file_lock
from qpipe.machine import capacity, filesystem, gpus, identity
from qpipe.machine.filesystem import link
from qpipe.report import numbers

_SUPPORTED = ((3, 10), (3, 13))


def checks(store: Path) -> list[Check]:
    """Checks of Python, the hardware and the store, whose folder is not created."""
    return [_python(), _processor(), _memory(), _accelerators(), *_store(store)]


def _python() -> Check:
    version = tuple(int(part) for part in platform.python_version_tuple()[:2])
    version_text = f"{platform.python_version()} ({platform.python_implementation()})"
    if _SUPPORTED[0] <= version <= _SUPPORTED[1]:
        return Check("python", "ok", version_text)
    first, last = (".".join(map(str, v)) for v in _SUPPORTED)
    return Check(
        "python",
        "broken",
        version_text,
        f"make a virtual environment with Python {first} to {last}",
    )


def _processor() -> Check:
    about = identity.describe()
    usable, there = capacity.usable_cores(), about["cores"]
    of = "" if usable == there else f" of {there}"
    return Check(
        "processor",
        "ok",
        f"{about['processor'] or about['architecture']}, {usable}{of} cores usable, "
        f"{about['system']}",
    )


def _memory() -> Check:
    usable, there = capacity.usable_memory(), capacity.host_memory()
    of = "" if usable == there else f" of {numbers.size(there)}"
    return Check("memory", "ok", f"{numbers.size(usable)}{of} usable")


def _accelerators() -> Check:
    if (why := gpus.problem()) is not None:
        return Check("accelerators", "absent", f"{why} (nothing in the base needs one)")
    there, names = gpus.devices(), gpus.visible()
    shown = "" if len(names) == len(there) else f"; {gpus.VARIABLE} leaves {', '.join(names)}"
    return Check("accelerators", "ok", ", ".join(there) + shown)


def _store(store: Path) -> Sequence[Check]:
    folder = filesystem.existing(store)
    free = numbers.size(filesystem.free_bytes(store))
    missing = "" if folder == store else " (not made yet)"
    space = Check("store", "ok", f"{store}{missing}, {free} free")
    if not os.access(folder, os.W_OK | os.X_OK):
        fix = "name another with --store DIR or QPIPE_STORE, or make it writable"
        return [Check("store", "broken", f"{store} cannot be written", fix)]
    return [space, _file_system(folder)]


def _file_system(folder: Path) -> Check:
    """Check how files come into the store and whether locks work, by trying with small files."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".qpipe-doctor-") as name:
        source, target = Path(name, "source"), Path(name, "target")
        source.write_bytes(b"qpipe")
        link(source, target)
        if target.is_symlink():
            how = "symbolic links (neither reflinks nor hard links work here)"
        elif target.stat().st_nlink > 1:
            how = "hard links (no reflinks here)"
        else:
            how = "reflinks"
        problem = _locking(Path(name, "lock"))
    if problem is not None:
        fix = "put the store on a local disk: --store DIR or QPIPE_STORE"
        return Check("file system", "broken", problem, fix)
    return Check("file system", "ok", f"{how}; locks work")


def _locking(path: Path) -> str | None:
    """The reason why locks on a file cannot be relied on, or None."""
    try:
        with file_lock.held(path):
            second = file_lock.acquire(path, wait=False)
    except OSError as error:
        return f"files cannot be locked: {error.strerror}"
    if second is None:
        return None
    os.close(second)
    return "locks do nothing: a file was locked twice at a time, so two runs would make the same"
