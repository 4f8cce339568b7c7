"""Programs on PATH; links: a reflink where there are any, else a hard link, else a symbolic one."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from pathlib import Path

import pytest

from qpipe.machine import filesystem as module
from qpipe.machine.filesystem import link


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.bin"
    path.write_bytes(b"weights")
    return path


def test_an_executable_is_found_as_a_shell_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [tmp_path / name for name in ("none", "folder", "plain", "first", "second")]
    for folder in folders[1:]:
        folder.mkdir()
    (folders[1] / "tool").mkdir()
    (folders[2] / "tool").write_text("")
    for folder in folders[3:]:
        (folder / "tool").write_text("#!/bin/sh")
        (folder / "tool").chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join(map(str, folders)))
    assert module.executable("tool") == folders[3] / "tool" == Path(shutil.which("tool") or "")
    assert module.executable("other") is None
    monkeypatch.chdir(folders[4])
    monkeypatch.setenv("PATH", os.pathsep)
    assert module.executable("tool") == Path("./tool")


def test_a_link_to_a_link_is_one_to_the_file(source: Path, tmp_path: Path) -> None:
    """As in the hub's cache, where names are symbolic links to blobs."""
    name = tmp_path / "name.bin"
    name.symlink_to(source)
    link(name, tmp_path / "target.bin")
    assert (tmp_path / "target.bin").read_bytes() == b"weights"
    assert not (tmp_path / "target.bin").is_symlink()


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        link(tmp_path / "nowhere", tmp_path / "target")
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EPERM, errno.EMLINK])
def test_a_file_system_that_refuses_hard_links(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fail(source: Path, target: Path) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", fail)
    link(source, tmp_path / "target")
    assert (tmp_path / "target").readlink() == source


def test_other_errors_are_errors(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", fail)
    with pytest.raises(OSError, match="No space"):
        link(source, tmp_path / "target")


def test_a_file_system_that_shares_blocks(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call that XFS and Btrfs answer, played here by a copy."""

    def clone(target: int, request: int, old: int) -> int:
        assert request == 0x40049409
        return os.write(target, os.pread(old, 100, 0))

    monkeypatch.setattr(fcntl, "ioctl", clone)
    link(source, tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"weights"
    assert source.stat().st_nlink == 1


def test_other_systems_have_no_such_call(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.sys, "platform", "darwin")  # type: ignore[attr-defined]
    link(source, tmp_path / "target")
    assert (tmp_path / "target").samefile(source)
