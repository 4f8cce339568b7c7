"""An export is whole or not there; nothing of the store changes, and nothing leads out of it."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import qpipe
from qpipe.core.digests import Digests, stamp
from qpipe.errors import OutOfSpaceError, StoreError, UsageError
from qpipe.export import making
from qpipe.export.placing import place
from qpipe.export.targets import folder as target
from qpipe.machine import filesystem
from qpipe.session.export import export
from qpipe.support import hashing


def exported(run: Path, out: Path) -> list[str]:
    result = export(["latest"], "folder", out, store=run / "store", runs=run / "runs")
    return [file.name for file in result.exported.files]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_of_the_store_is_linked(tmp_path: Path) -> None:
    digests = Digests(tmp_path / "hashes")
    own = tmp_path / "own"
    own.write_bytes(b"own")
    own.chmod(0o444)
    digests.of(own)
    place(own, tmp_path / "out" / "a", digests)
    assert (tmp_path / "out" / "a").samefile(own)
    assert digests.lookup(stamp((tmp_path / "out" / "a").stat())) is not None


def test_a_file_that_may_be_written_to_is_copied(tmp_path: Path) -> None:
    """As the user's own checkpoint, which lies in the store as a link; through a symbolic link."""
    digests = Digests(tmp_path / "hashes")
    users = tmp_path / "users"
    users.write_bytes(b"users" * 1000)
    known = digests.of(users)
    (tmp_path / "link").symlink_to(users)
    place(tmp_path / "link", tmp_path / "a", digests)
    users.write_bytes(b"changed")
    assert (tmp_path / "a").read_bytes() == b"users" * 1000
    assert not (tmp_path / "a").is_symlink() and (tmp_path / "a").stat().st_mode & 0o777 == 0o444
    assert digests.lookup(stamp((tmp_path / "a").stat())) == known


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.EMLINK])
def test_another_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*paths: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Digests.link, "__defaults__", (refuse,))
    own = tmp_path / "own"
    own.write_bytes(b"own")
    own.chmod(0o444)
    place(own, tmp_path / "a", Digests(tmp_path / "hashes"))
    assert (tmp_path / "a").read_bytes() == b"own" and not (tmp_path / "a").samefile(own)


def test_bytes_that_are_read_otherwise(tmp_path: Path) -> None:
    digests = Digests(tmp_path / "hashes")
    users = tmp_path / "users"
    users.write_bytes(b"users")
    digests.note(stamp(users.stat()), "0" * 64)
    if filesystem.clone(users, tmp_path / "clone"):
        pytest.skip("clones are not read")
    with pytest.raises(StoreError, match="it changed while it was copied"):
        place(users, tmp_path / "a", digests)


def test_a_full_disk(run: Path, small_disk: Callable[[str], Path]) -> None:
    """One that is really full."""
    disk = small_disk("1m")
    (disk / "filler").write_bytes(b"x" * (900 << 10))
    with pytest.raises(OutOfSpaceError, match="its disk is full; free some space there"):
        exported(run, disk / "out")
    assert names(disk) == ["filler"]


def test_a_damaged_artifact_is_refused(run: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(run / "store", tmp_path / "store")
    made = (tmp_path / "store").glob("artifacts/*/*/model.gguf")
    file = next(
        p for p in made if '"stage": "quantize"' in (p.parent / "manifest.json").read_text()
    )
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.chmod(0o644)
    file.write_bytes(data)
    with pytest.raises(StoreError, match="run the recipe again"):
        export(["latest"], "folder", tmp_path / "out", store=tmp_path / "store", runs=run / "runs")
    assert names(tmp_path) == ["store"]


@pytest.mark.parametrize("problem", ["interrupt", "full", "forbidden"])
def test_nothing_is_left_behind(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: str
) -> None:
    errors: dict[str, tuple[BaseException, type[BaseException], str]] = {
        "interrupt": (KeyboardInterrupt(), KeyboardInterrupt, "^$"),
        "full": (OSError(errno.ENOSPC, "full", "f"), OutOfSpaceError, "its disk is full"),
        "forbidden": (OSError(errno.EACCES, "no", "f"), UsageError, "cannot be written"),
    }
    error, kind, words = errors[problem]

    def stop(request: object) -> None:
        raise error

    before = hashing.of_file(next((run / "store").glob("artifacts/*/*/model.gguf")))
    with monkeypatch.context() as patch:
        patch.setattr(target, "place_all", stop)
        with pytest.raises(kind, match=words):
            exported(run, tmp_path / "out")
    assert names(tmp_path) == []
    assert "SHA256SUMS" in exported(run, tmp_path / "out")
    assert hashing.of_file(next((run / "store").glob("artifacts/*/*/model.gguf"))) == before
    assert qpipe.Store(run / "store").verify() == []


_STUCK = """
import sys, time
from pathlib import Path
from qpipe.export import making
with making.filling(Path(sys.argv[1])) as aside:
    (aside / "half").write_bytes(b"half")
    print("there", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("there", [False, True])
def test_what_a_killed_export_left_goes(run: Path, tmp_path: Path, there: bool) -> None:
    """Both where the folder was made, and where it was there and empty (a disk, a container's)."""
    out = tmp_path / "out"
    if there:
        out.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", _STUCK, str(out)], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None and process.stdout.readline() == "there\n"
        with pytest.raises(UsageError, match="another export is on its way there"):
            exported(run, out)
        process.send_signal(signal.SIGKILL)
    assert names(tmp_path) != [] and not (out / "half").exists()
    exported(run, out)
    assert names(tmp_path) == ["out"]
    assert not [name for name in names(out) if name.startswith(".")]


def test_two_at_a_time(tmp_path: Path) -> None:
    """One of them is told to wait, and the other is whole."""
    refused: list[str] = []
    barrier = threading.Barrier(2)

    def work(number: int) -> None:
        barrier.wait()
        try:
            with making.filling(tmp_path / "out") as aside:
                (aside / "a").write_text(str(number))
                barrier.wait(10)
        except UsageError as error:
            refused.append(str(error))
            barrier.wait(10)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1 and names(tmp_path) == ["out"] and names(tmp_path / "out") == ["a"]


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UsageError, match="it is no folder"):
        making.refuse(tmp_path / "out")
    with pytest.raises(UsageError, match="cannot be written"), making.filling(tmp_path / "out/x"):
        pass
    assert (tmp_path / "out").read_text() == "mine"
