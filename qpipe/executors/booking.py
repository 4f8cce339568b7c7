"""The book of this machine: what the workers of all qpipe processes take, and what runs wait for.

A folder holds a file for each entry, locked by whoever it belongs to, with what a worker takes
locked by the worker too: an entry counts as long as its lock is held, so a process that is killed,
by whatever signal, frees what it had at once. Entries are made in turns (a lock on ``turn``).

The folder is QPIPE_BOOKINGS, else ``/tmp/qpipe-UID``: one a user, which nobody else can write.
Not TMPDIR and not XDG_RUNTIME_DIR, which differ between a terminal, a service and a job of cron.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from qpipe.core.file_lock import unique

VARIABLE = "QPIPE_BOOKINGS"

_TEMPORARY = Path("/tmp")

# Looks at the lock of the turn before it is somebody else's, and seconds between them: a turn takes
# less than a millisecond, but for that of a process that was stopped (Ctrl-Z) in it.
_LOOKS, _BETWEEN = 25, 0.002

# Bytes of an entry, at most: who else may write into the folder cannot fill our memory.
_MOST_BYTES = 1 << 16


@dataclass(frozen=True)
class Booking:
    """The part of the machine that a worker takes or, ``waiting``, what the process waits for.

    ``gpus`` are cards (`qpipe.machine.gpus.cards`): those taken, or those of which ``count`` are
    wanted. ``cores`` are those that it may run on, ``group`` the cgroup whose limit bounds its
    memory (empty: the machine's); ``since`` is in seconds since the epoch.
    """

    pid: int
    run: str
    cpus: int = 0
    memory: int = 0
    gpus: tuple[str, ...] = ()
    count: int = 0
    cores: tuple[int, ...] = ()
    group: str = ""
    waiting: bool = False
    since: float = 0.0

    @property
    def place(self) -> tuple[float, int, str]:
        """The place in the order of those that wait."""
        return self.since, self.pid, self.run


@dataclass
class BookedFile:
    """An entry in the book, as long as ``fd`` is open here or in a worker."""

    path: Path
    fd: int

    def close(self) -> None:
        """Take it out of the book, once."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError):
                self.path.unlink()
            os.close(fd)


class Book:
    """The entries in a folder. Raises OSError where it cannot be used."""

    def __init__(self, folder: Path | None = None) -> None:
        """Make the folder, the user's own if none is given, and see whether it can be locked."""
        self.folder = _own_folder() if folder is None else folder
        with self.turn():
            pass

    @contextlib.contextmanager
    def turn(self) -> Iterator[bool]:
        """Have a block for oneself: True, or False if somebody else has it now."""
        fd = _open_turn(self.folder)
        try:
            yield _locked(fd)
        finally:
            os.close(fd)

    def entries(self) -> list[Booking]:
        """Entries of living processes; files of others are removed. In one's turn alone."""
        entries = [_entry(path) for path in sorted(self.folder.glob("*.json"))]
        return [entry for entry in entries if entry is not None]

    def put(self, entry: Booking) -> BookedFile:
        """Enter it. In one's turn alone."""
        path = self.folder / f"{unique()}.json"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(fd, json.dumps(asdict(entry)).encode())
        except BaseException:
            BookedFile(path, fd).close()
            raise
        return BookedFile(path, fd)


def book_folder() -> Path | None:
    """The folder that QPIPE_BOOKINGS names, None where the user's own is meant."""
    named = os.environ.get(VARIABLE)
    return Path(named).absolute() if named else None


def _own_folder() -> Path:
    """A folder of this user that nobody else can write. Raises OSError for one that others made:
    whoever foresees the name could else have us write where a link leads."""
    named = book_folder()
    if named is not None:
        named.mkdir(parents=True, exist_ok=True)
        return named
    folder = _TEMPORARY / f"qpipe-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(0o700)
    state = folder.lstat()
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.getuid() or state.st_mode & 0o022:
        raise PermissionError(f"{folder} is no folder that this user alone can write")
    return folder


def _open_turn(folder: Path) -> int:
    path = folder / "turn"
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    for _ in range(2):
        try:
            return os.open(path, flags)
        except PermissionError:  # that of another user of the folder: enough to lock it
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            with contextlib.suppress(FileExistsError):
                os.close(os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o644))
    raise FileNotFoundError(path)


def _locked(fd: int) -> bool:
    for _ in range(_LOOKS):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(_BETWEEN)
    return False


def _entry(path: Path) -> Booking | None:
    """Read a file; None for one that nobody holds any more, which goes, and for no entry."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _parsed(os.read(fd, _MOST_BYTES))
    else:
        with contextlib.suppress(OSError):
            path.unlink()
        return None
    finally:
        os.close(fd)


def _parsed(data: bytes) -> Booking | None:
    try:
        fields = json.loads(data)
        gpus, cores = tuple(map(str, fields["gpus"])), tuple(map(int, fields["cores"]))
        return Booking(**{**fields, "gpus": gpus, "cores": cores})
    except (ValueError, TypeError, KeyError):
        return None  # of another version of qpipe
