"""The real command line: in a process of its own, or called in the test's.

A process takes a second to import what a command needs. `called` is for what is said and written;
`qpipe` for what a process is needed for: streams, signals, crashes, the environment as libraries
read it when they are imported.
"""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qpipe import cli

_ROOT = Path(__file__).parents[1]
# What a developer's own environment must not change.
_CLEARED = ("QPIPE_STORE", "QPIPE_RUNS", "HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_HOME", "NO_COLOR")


@dataclass(frozen=True)
class Answer:
    code: int
    stdout: str
    stderr: str


def environment(env: Mapping[str, str] | None = None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in _CLEARED}
    return {**kept, "PYTHONPATH": str(_ROOT), **(env or {})}


def qpipe(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None, timeout: float = 120
) -> Answer:
    done = subprocess.run(
        [sys.executable, "-m", "qpipe", *arguments],
        cwd=cwd,
        env=environment(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


# Read once, as a library is imported, or as Python starts.
_READ_ONCE = ("HF_", "HUGGINGFACE_", "PYTHON", "OMP_", "TQDM_")


def called(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> Answer:
    """As `qpipe`, by a call in this process.

    Its descriptors 1 and 2 lead into files meanwhile, so that what is tested are the streams that a
    command makes itself. What it changes of the process is put back. Raises ValueError for a
    variable that has its effect when a process starts.
    """
    late = [name for name in env or () if name.startswith(_READ_ONCE)]
    if late:
        raise ValueError(f"{', '.join(late)}: only a process of its own hears of it")
    with contextlib.ExitStack() as stack:
        stack.enter_context(_environment(environment(env)))
        stack.enter_context(_process(cwd, ["qpipe", *arguments]))
        stdout = stack.enter_context(_written(1))
        stderr = stack.enter_context(_written(2))
        try:
            code = cli.main(arguments)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
        return Answer(code, stdout.read_text(), stderr.read_text())


@contextlib.contextmanager
def _process(cwd: Path, argv: list[str]) -> Iterator[None]:
    """The folder, argv, streams and collector of the process, put back."""
    before = Path.cwd(), sys.argv, sys.stdout, sys.stderr, gc.isenabled()
    os.chdir(cwd)
    sys.argv = argv
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__  # which a command replaces
    try:
        yield
    finally:
        os.chdir(before[0])
        _, sys.argv, sys.stdout, sys.stderr, collecting = before
        if collecting:
            gc.enable()  # `qpipe ls` does without


@contextlib.contextmanager
def _environment(wanted: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    try:
        _set(wanted)
        yield
    finally:
        _set(before)


def _set(wanted: Mapping[str, str]) -> None:
    """Change only what differs."""
    for name in os.environ.keys() - wanted.keys():
        del os.environ[name]
    for name, value in wanted.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


@contextlib.contextmanager
def _written(descriptor: int) -> Iterator[Path]:
    """The file that a descriptor leads to within."""
    kept = os.dup(descriptor)
    with tempfile.NamedTemporaryFile() as file:
        os.dup2(file.fileno(), descriptor)
        try:
            yield Path(file.name)
        finally:
            os.dup2(kept, descriptor)
            os.close(kept)


def by_stage(nodes: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """An answer's nodes by the name of their stage: ``quantize`` of ``quantize[model Q4_0]``."""
    return {node["name"].partition("[")[0]: node for node in nodes}


def imported(*arguments: str, cwd: Path, names: Iterable[str]) -> tuple[Answer, list[str]]:
    """The answer of a command in a process of its own, and which of these modules it imported."""
    code = (
        f"import sys; from qpipe.cli import main; code = main({[*arguments]!r}); "
        f"print(*sorted({{*{[*names]!r}}} & set(sys.modules)), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env=environment(), capture_output=True, text=True
    )
    answer = Answer(done.returncode, done.stdout, done.stderr)
    return answer, done.stderr.splitlines()[-1].split()
