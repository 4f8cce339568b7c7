"""What doctor finds out about a file system."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpipe.commands.checks import machine


def file_system(folder: Path) -> str:
    (check,) = (c for c in machine.checks(folder) if c.name == "file system")
    return f"{check.state}: {check.found}; {check.fix}"


def test_locks_that_do_nothing_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert file_system(tmp_path).startswith("ok: ")
    monkeypatch.setattr("fcntl.flock", lambda fd, mode: None)
    told = file_system(tmp_path)
    assert told.startswith("broken: locks do nothing")
    assert "--store DIR" in told
