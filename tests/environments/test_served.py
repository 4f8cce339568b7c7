"""A script that stays in another interpreter: what it answers, and how each of its ends is told."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from qpipe.environments.environment import Environment
from qpipe.environments.served import ServedScript
from qpipe.errors import CheckpointError, EngineMissingError, WorkerCrashError
from tests.environments import tiny


def opened(environment: Environment, **params: str) -> ServedScript:
    return ServedScript(environment, params, threads=3, more={"TINY": "1"})


def gone(pid: int) -> bool:
    for _ in range(50):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def test_many_requests_one_process(made: Environment) -> None:
    with opened(made, model="m") as script:
        first, data = script.ask({"text": "hello"})
        # Larger than a pipe holds, both ways.
        text = "a b" * 100_000
        second, large = script.ask({"text": text, "times": 3})
    assert data == b"HELLO"
    assert large == (text.upper() * 3).encode()
    assert first == second == {"pid": first["pid"], "threads": "3", "model": "m"}
    assert gone(first["pid"])


def test_what_it_refuses(made: Environment) -> None:
    with pytest.raises(CheckpointError, match=r"^tiny: config\.json: no$"):
        opened(made, refused="config.json: no")


def test_an_error_in_an_answer(made: Environment) -> None:
    with (
        opened(made) as script,
        pytest.raises(WorkerCrashError, match="tiny: unexpected ValueError: nobody expected this"),
    ):
        script.ask({"error": "nobody expected this"})


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_signals(made: Environment, number: signal.Signals) -> None:
    with (
        opened(made) as script,
        pytest.raises(WorkerCrashError, match=f"its process was killed by {number.name}"),
    ):
        script.ask({"kill": int(number)})


def test_one_that_is_not_there(own: Path) -> None:
    with pytest.raises(EngineMissingError, match=r"not installed: qpipe engines install tiny"):
        opened(tiny.environment(own))
