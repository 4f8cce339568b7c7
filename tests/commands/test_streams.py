"""Streams closed or full, folders that are gone, signals: no traceback, and nothing is lost."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli import environment, qpipe

pytestmark = pytest.mark.slow

RUN = ("run", "local", "model.source=builtin:tinystories-d256", "evaluate=none")


def shell(command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A command line with `qpipe` in it, by a shell that can close streams."""
    return subprocess.run(
        ["bash", "-c", f'qpipe() {{ "{sys.executable}" -m qpipe "$@"; }}; {command}'],
        cwd=cwd,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_run_whose_progress_nobody_can_read(tmp_path: Path) -> None:
    run = " ".join(RUN)
    closed = shell(f"qpipe {run} 2>&-", tmp_path)
    full = shell(f"qpipe {run} 2>/dev/full", tmp_path)
    for done in (closed, full):
        assert done.returncode == 0
        assert "Q8_0" in done.stdout
    rows = json.loads(shell("qpipe report latest --json", tmp_path).stdout)["rows"]
    assert [row["status"] for row in rows] == ["cached"]


def test_an_answer_that_cannot_be_written(tmp_path: Path) -> None:
    done = shell("qpipe engines >/dev/full", tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        "qpipe: the answer could not be written to stdout: No space left on device\n"
    )
    assert shell("qpipe engines >&-", tmp_path).returncode == 0
    assert shell("qpipe engines >&- 2>&- <&-", tmp_path).returncode == 0
    pipe = shell("qpipe engines | true; echo ${PIPESTATUS[0]}", tmp_path)
    assert (pipe.stdout, pipe.stderr) in (("141\n", ""), ("0\n", ""))


@pytest.mark.parametrize("verb", [" ".join(RUN), "ls", "plan demo"])
def test_a_current_folder_that_is_gone(tmp_path: Path, verb: str) -> None:
    done = shell(f"mkdir gone && cd gone && rmdir ../gone && qpipe {verb}", tmp_path)
    assert done.returncode == 2
    assert "qpipe: the current folder cannot be used" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_runs_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    answer = qpipe(*RUN, "--runs", "file/runs", cwd=tmp_path)
    assert answer.code == 2
    assert "file/runs (Not a directory); name another with --runs" in answer.stderr


def test_a_full_disk_after_all_work(tmp_path: Path, small_disk: Callable[[str], Path]) -> None:
    assert qpipe(*RUN, cwd=tmp_path).code == 0
    answer = qpipe(*RUN, "--runs", str(small_disk("8k")), cwd=tmp_path)
    assert answer.code == 1
    assert "Q8_0" in answer.stdout
    assert "reports could not be written (No space left on device)" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_locale_without_unicode(tmp_path: Path) -> None:
    odd = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    measured = ("evaluate=perplexity", "evaluate.n_ctx=64", "evaluate.chunks=2")
    answer = qpipe(*RUN[:-1], *measured, cwd=tmp_path, env=odd)
    assert answer.code == 0, answer.stderr
    (report,) = tmp_path.glob("outputs/runs/*/report.md")
    assert "Δ ppl" in report.read_text(encoding="utf-8")


def test_a_name_that_is_no_utf8(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    answer = qpipe("inspect", str(folder), cwd=tmp_path)
    assert answer.code == 1
    assert "Traceback" not in answer.stderr


def started_in_a_terminal(tmp_path: Path) -> tuple[subprocess.Popen[bytes], int]:
    """A run whose stderr is a terminal, once its live display has hidden the cursor."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "qpipe", *RUN, "quantize.type=Q4_K_M"],
        cwd=tmp_path,
        env=environment({"TERM": "xterm"}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown, deadline = b"", time.monotonic() + 60
    while b"\x1b[?25l" not in shown:
        assert time.monotonic() < deadline, shown
        shown += os.read(ours, 1 << 16)
    return process, ours


def rest_of(terminal: int) -> bytes:
    shown = b""
    while True:
        try:
            chunk = os.read(terminal, 1 << 16)
        except OSError:  # its other end was closed
            return shown
        if not chunk:
            return shown
        shown += chunk


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGHUP, 130), (signal.SIGQUIT, -signal.SIGQUIT)]
)
def test_the_cursor_comes_back(tmp_path: Path, number: signal.Signals, code: int) -> None:
    process, terminal = started_in_a_terminal(tmp_path)
    process.send_signal(number)
    shown = rest_of(terminal)
    assert process.wait(30) == code
    assert b"\x1b[?25h" in shown
    if number is signal.SIGHUP:
        assert b"interrupted" in shown
