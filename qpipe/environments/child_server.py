"""`ENVIRONMENT/bin/python -I child_server.py SCRIPT REQUESTS ANSWERS PARENT`: a script that stays.

The other side of `qpipe.environments.served`. Standard library only, as `child_runtime`, which lies
beside it. Requests come as lines of JSON from the descriptor REQUESTS; each is answered on ANSWERS
by a line of JSON, ``{"answer", "bytes"}`` or ``{"error": {"type", "message"}}``, and after it as
many bytes. The first request is what the script opens with. Where requests end, so does this.

A script is a file with ``serve(params, error)``, which returns a function of a request that gives
``(answer, payload)``; ``error(kind, message)`` is what to raise for what the user can act on.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

Answering = Callable[[dict[str, Any]], tuple[dict[str, Any], bytes]]


def main(script: Path, requests: int, answers: int, parent: int) -> int:
    """Answer until there are no more requests; 1 after an error, which ends it."""
    runtime = _runtime()
    for descriptor in (requests, answers):
        os.set_inheritable(descriptor, False)  # what the script starts shall not keep them open
    runtime.die_with(parent)
    os.dup2(2, 1)  # what libraries print
    with os.fdopen(requests, "rb") as lines, os.fdopen(answers, "wb") as out:
        answer: Answering | None = None
        for line in lines:
            try:
                request = json.loads(line)
                if answer is None:
                    answer = runtime.load(script).serve(request, runtime.ScriptError)
                    _write(out, {"answer": {}, "bytes": 0})
                    continue
                record, payload = answer(request)
            except BaseException as error:  # noqa: BLE001  the process boundary
                _write(out, runtime.failure(error))
                return 1
            _write(out, {"answer": record, "bytes": len(payload)}, payload)
    return 0


def _runtime() -> Any:
    """`child_runtime`, by its file: isolated, Python looks for no modules beside this one."""
    path = Path(__file__).with_name("child_runtime.py")
    spec = importlib.util.spec_from_file_location("child_runtime", path)
    assert spec is not None and spec.loader is not None, path
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _write(out: IO[bytes], record: dict[str, Any], payload: bytes = b"") -> None:
    out.write(json.dumps(record).encode() + b"\n")
    out.write(payload)
    out.flush()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *map(int, sys.argv[2:])))
