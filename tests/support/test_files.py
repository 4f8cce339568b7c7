"""Files of all kinds: read, or refused in the error of whoever asked, and never waited for."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from qpipe.errors import DataError
from qpipe.support import files


def test_a_file_is_read_up_to_a_bound(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("x")
    assert files.read_file(tmp_path / "link", DataError, most=5) == b"12345"
    with pytest.raises(DataError, match=r"x: it is larger than the 4 bytes that such a file may"):
        files.read_file(tmp_path / "x", DataError, most=4)


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        for path, words in (
            (tmp_path, "it is a folder, not a file"),
            (tmp_path / "fifo", "it is a pipe, not a file"),
            (Path("/dev/zero"), "it is a device, not a file"),
            (tmp_path / "s", "cannot be read: "),
            (tmp_path / "loop", "cannot be read: Too many levels of symbolic links"),
            (tmp_path / "none", "cannot be read: No such file or directory"),
            (tmp_path / ("x" * 300), "cannot be read: File name too long"),
            (tmp_path / "a\0b", "no file has such a name"),
        ):
            assert not files.is_file(path)
            with pytest.raises(DataError) as caught:
                files.read_file(path, DataError, most=10)
            assert words in str(caught.value)


def test_home_folders_as_the_shell_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert files.expanded("~/x") == Path("/home/me/x")
    assert files.expanded("~nobody-of-this-name/x") == Path("~nobody-of-this-name/x")


def test_asking_never_raises(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    assert files.is_file(tmp_path / "x") and not files.is_folder(tmp_path / "x")
    assert files.is_folder(tmp_path) and files.exists(tmp_path)
    for name in ("y" * 300, "a\0b", "none"):
        path = tmp_path / name
        assert not (files.exists(path) or files.is_file(path) or files.is_folder(path))


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("quantize[故事 7B Q4_0 seed=0]", "quantize_故事_7B_Q4_0_seed=0"),
        ("../../etc/passwd", "etc_passwd"),
        ("é" * 9, "é" * 5),
        ("\udcff", ""),
        (" .. ", ""),
    ],
)
def test_words_as_the_name_of_a_file(words: str, name: str) -> None:
    assert files.plain_name(words, 10 if words[:1] == "é" else 99) == name
