"""Programs that are not ours, really run."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from qpipe.errors import OutOfSpaceError, WorkerCrashError
from qpipe.machine import program
from qpipe.machine.program import ProgramError


def python(code: str, **options: object) -> list[str]:
    return program.run([sys.executable, "-c", code], name="tool 1.0", **options)  # type: ignore[arg-type]


def test_what_it_printed_comes_back_and_goes_on(capfd: pytest.CaptureFixture[str]) -> None:
    told: list[str] = []
    code = "import sys; print('out', flush=True); print('err', file=sys.stderr)"
    assert python(code, on_line=told.append) == ["out\n", "err\n"] == told
    assert capfd.readouterr() == ("", "out\nerr\n")
    python(code, quiet=True)
    assert capfd.readouterr() == ("", "")


def test_only_the_end_is_kept() -> None:
    lines = python("for n in range(1000): print(n)", quiet=True)
    assert lines[-1] == "999\n"
    assert len(lines) == 50


def test_where_and_with_what_it_runs(tmp_path: Path) -> None:
    code = "import os; print(os.getcwd(), os.environ['WORD'], 'HOME' in os.environ)"
    (line,) = python(code, cwd=tmp_path, env={"WORD": "given"})
    assert line == f"{tmp_path} given False\n"


def test_it_reads_nothing_of_ours() -> None:
    assert python("import sys; print(repr(sys.stdin.read()))") == ["''\n"]


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (
            "print('a'); print('b '); print(); exit(3)",
            ProgramError,
            "tool 1.0 ended with code 3: b",
        ),
        ("exit(1)", ProgramError, "tool 1.0 ended with code 1: it printed nothing"),
        ("import os; os.kill(os.getpid(), 9)", WorkerCrashError, "tool 1.0 was ended by SIGKILL"),
        ("open('/dev/full', 'w', 1).write('x\\n')", OutOfSpaceError, "full while tool 1.0 wrote"),
    ],
)
def test_failures_are_what_they_are(code: str, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        python(code)
    assert type(caught.value) is kind


def test_the_last_line_is_at_hand() -> None:
    with pytest.raises(ProgramError) as caught:
        python("print('first'); exit('ModuleNotFoundError: no torch')")
    assert caught.value.last == "ModuleNotFoundError: no torch"


def talk(code: str) -> bytes:
    """What a program that has the number of a pipe says into it, three bytes at most."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", buffering=0) as answer, os.fdopen(writing, "wb") as sink:
        command = [sys.executable, "-c", f"import os, sys; {code}"]
        with program.running([*command, sink.fileno()], name="it", inherit=[sink]):
            said = answer.read(3)
            if len(said) < 3:
                raise EOFError
    return said


def test_beside_the_block() -> None:
    assert talk("os.write(int(sys.argv[1]), b'abc')") == b"abc"


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        ("print('no'); sys.exit(3)", ProgramError, "it ended with code 3: no"),
        ("os.write(int(sys.argv[1]), b'a')", ProgramError, "it ended before it had said"),
        ("os.kill(os.getpid(), 9)", WorkerCrashError, "it was ended by SIGKILL"),
    ],
)
def test_it_ends_before_it_has_said_all(code: str, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        talk(code)


def test_a_block_that_fails_ends_it() -> None:
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    with pytest.raises(KeyError), program.running(command, name="it"):
        raise KeyError
