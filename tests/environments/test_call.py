"""A script in another interpreter: what it is given, and how each of its ends is told."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from qpipe.environments.call import Call, call
from qpipe.environments.environment import Environment
from qpipe.errors import (
    CheckpointError,
    EngineMissingError,
    OutOfMemoryError,
    OutOfSpaceError,
    QpipeError,
    WorkerCrashError,
)
from tests.environments import tiny

Progress = list[tuple[int, int, str]]


def ask(environment: Environment, folder: Path, how: str, **params: Any) -> tuple[Any, Progress]:
    (folder / "in").mkdir()
    (folder / "in" / "in.txt").write_text("hello")
    (folder / "out").mkdir()
    seen: Progress = []
    facts = call(
        environment,
        Call(
            {"how": how, **params},
            {"model": folder / "in"},
            folder / "out",
            3,
            lambda *step: seen.append(step),
            tools=("tinytool", "nothing"),
        ),
    )
    return facts, seen


def test_a_job(made: Environment, tmp_path: Path) -> None:
    facts, seen = ask(made, tmp_path, "work")
    assert (tmp_path / "out" / "out.txt").read_text() == "HELLO"
    assert seen == [(1, 3, "layers"), (2, 3, "layers"), (3, 3, "layers")]
    assert facts == {
        "length": 5,
        "threads": 3,
        "offline": "1",
        "tools": {"tinytool": "1.0", "nothing": "missing"},
    }


def test_nothing_of_ours_is_there(
    made: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    facts, _ = ask(made, tmp_path, "modules")
    assert (facts["qpipe"], facts["pydantic"], facts["numpy"]) == (False, False, False)
    assert facts["executable"] == str(made.python)
    assert not any("qpipe" in Path(entry).name for entry in facts["path"])


@pytest.mark.parametrize(
    ("how", "kind", "words"),
    [
        ("refuse", CheckpointError, "tiny: config.json: no"),
        ("unexpected", WorkerCrashError, "tiny: unexpected ValueError: nobody expected this"),
        ("memory", OutOfMemoryError, "tiny: memory ran out"),
        ("device_memory", OutOfMemoryError, "CUDA out of memory"),
        ("full", OutOfSpaceError, "No space left on device"),
        ("leave", WorkerCrashError, "called sys.exit(0)"),
        ("hard", WorkerCrashError, "its process ended with exit code 7 and left no result"),
        ("missing", WorkerCrashError, "KeyError: 'missing'"),
    ],
)
def test_ends(
    made: Environment, tmp_path: Path, how: str, kind: type[QpipeError], words: str
) -> None:
    with pytest.raises(kind) as caught:
        ask(made, tmp_path, how)
    assert type(caught.value) is kind
    assert words in str(caught.value)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_signals(made: Environment, tmp_path: Path, number: signal.Signals) -> None:
    with pytest.raises(WorkerCrashError, match=f"its process was killed by {number.name}"):
        ask(made, tmp_path, "kill", signal=int(number))


def test_an_interrupt_leaves_no_process(made: Environment, tmp_path: Path) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(2)
    try:
        with pytest.raises(KeyboardInterrupt):
            ask(made, tmp_path, "sleep")
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    pid = int((tmp_path / "out" / "pid").read_text())
    time.sleep(0.1)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_one_that_is_not_there(own: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineMissingError, match=r"not installed: qpipe engines install tiny"):
        ask(tiny.environment(own), tmp_path, "work")
