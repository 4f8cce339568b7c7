"""The book of a machine: whose entries count, and where it may lie."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from qpipe.executors import booking
from qpipe.executors.booking import Book, Booking
from tests.core.beside import ready, until

HOLD = """
import sys, time
from pathlib import Path
from qpipe.executors.booking import Book, Booking
book = Book(Path(sys.argv[1]))
with book.turn() as mine:
    assert mine
    file = book.put(Booking(1, "theirs", gpus=("card",)))
{then}
print("ready", flush=True)
time.sleep(60)
"""
WORKER = (
    "import subprocess\n"
    "worker = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'],\n"
    "                          pass_fds=[file.fd], stdout=-3, stderr=-3)\n"
    "Path(sys.argv[1], 'worker').write_text(str(worker.pid))\n"
)


def entries(book: Book) -> list[Booking]:
    with book.turn() as mine:
        assert mine
        return book.entries()


def beside(folder: Path, then: str = "") -> subprocess.Popen[str]:
    code = HOLD.format(then=then)
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    return ready(process)


def test_an_entry_is_there_until_it_is_closed(tmp_path: Path) -> None:
    book = Book(tmp_path)
    entry = Booking(7, "run", 2, 3 << 30, ("a", "b"), 2, (0, 1), "1:2", False, 12.5)
    with book.turn():
        file = book.put(entry)
    assert entries(book) == [entry]
    file.close()
    file.close()
    assert entries(book) == []
    assert [path.name for path in tmp_path.iterdir()] == ["turn"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_process_that_is_killed_frees_what_it_had_at_once(
    tmp_path: Path, number: signal.Signals
) -> None:
    process = beside(tmp_path)
    book = Book(tmp_path)
    assert [entry.gpus for entry in entries(book)] == [("card",)]
    process.send_signal(number)
    process.communicate()
    assert entries(book) == []


def test_what_a_worker_has_is_booked_as_long_as_the_worker_lives(tmp_path: Path) -> None:
    process = beside(tmp_path, WORKER)
    process.kill()
    process.communicate()
    book = Book(tmp_path)
    assert [entry.run for entry in entries(book)] == ["theirs"]
    os.kill(int((tmp_path / "worker").read_text()), signal.SIGKILL)
    until(lambda: not entries(book))


def test_a_turn_is_one_process_s_at_a_time(tmp_path: Path) -> None:
    book = Book(tmp_path)
    with book.turn() as first, book.turn() as second:
        assert (first, second) == (True, False)
    with book.turn() as again:
        assert again


def test_what_is_no_entry_is_passed_over(tmp_path: Path) -> None:
    book = Book(tmp_path)
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "link.json").symlink_to("/etc/passwd")
    with book.turn():
        file = book.put(Booking(1, "run"))
        os.ftruncate(file.fd, 0)
        os.write(file.fd, b'{"of": "another version"}')
    assert entries(book) == []
    file.close()


# -- the folder -----------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(booking, "_TEMPORARY", tmp_path)
    monkeypatch.delenv(booking.VARIABLE)
    return tmp_path / f"qpipe-{os.getuid()}"


def test_the_users_own_folder(own: Path) -> None:
    assert Book().folder == Book().folder == own
    assert own.stat().st_mode & 0o777 == 0o700


def test_a_folder_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(booking.VARIABLE, str(tmp_path / "a" / "b"))
    assert Book().folder == tmp_path / "a" / "b"


def test_a_link_is_not_followed(own: Path, tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir(mode=0o700)
    own.symlink_to(tmp_path / "victim")
    with pytest.raises(PermissionError, match="is no folder that this user alone can write"):
        Book()
    assert list((tmp_path / "victim").iterdir()) == []


@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_a_folder_that_others_can_write_is_none(own: Path, mode: int) -> None:
    own.mkdir()
    own.chmod(mode)
    with pytest.raises(PermissionError):
        Book()


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a folder away needs root")
def test_a_folder_of_another_user_is_none(own: Path) -> None:
    own.mkdir(mode=0o700)
    os.chown(own, 12345, 12345)
    with pytest.raises(PermissionError):
        Book()


def test_a_file_in_its_place(own: Path) -> None:
    own.write_text("")
    with pytest.raises(OSError, match="qpipe-"):
        Book()


def test_a_link_for_the_turn_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "turn").symlink_to(tmp_path / "made")
    with pytest.raises(OSError, match="turn"):
        Book(tmp_path)
    assert not (tmp_path / "made").exists()
