"""Many commands in one process, which imports what they need once: `python -m tests.hub.shell`.

The hub's library reads its settings when it is imported, so they are of that process; a token is
read at each request. Commands run as `tests.cli.called` runs them; of each the process is sent
arguments and variables as a line of JSON, and answers with one.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from tests.cli import Answer, called, environment


class Shell:
    """A process that commands are given to."""

    def __init__(self, process: subprocess.Popen[str], cwd: Path) -> None:
        self._in: IO[str] | None = process.stdin
        self._out: IO[str] | None = process.stdout
        self.cwd = cwd

    def __call__(self, *arguments: str, token: str = "") -> Answer:
        """The answer of a command that is given a token, or none."""
        assert self._in is not None
        assert self._out is not None
        print(json.dumps([arguments, str(self.cwd), token]), file=self._in, flush=True)
        return Answer(*json.loads(self._out.readline()))


@contextlib.contextmanager
def shell(cwd: Path, env: Mapping[str, str]) -> Iterator[Shell]:
    """A process with these variables."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.hub.shell"],
        env=environment(env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Shell(process, cwd)


def main() -> None:
    """Run commands as they come."""
    import huggingface_hub.constants  # noqa: F401  reads its settings

    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        arguments, cwd, token = json.loads(line)
        os.environ["HF_TOKEN"] = token
        answer = called(*arguments, cwd=Path(cwd))
        print(json.dumps([answer.code, answer.stdout, answer.stderr]), file=answers, flush=True)


if __name__ == "__main__":
    main()
