"""`python -m qpipe.evaluators.speed_rounds.probe`: holds one model, and measures when told.

A process of its own, so that two models can be measured in turn and each one's memory be told.
On stdin, a line each: the model and the settings as JSON, then ``go`` for each round, then ``end``.
On stdout a line of JSON answers each; of an error ``{"error": {"type", "message"}}``, and the end.
Where stdin ends, so does this.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from qpipe.errors import QpipeError
from qpipe.evaluators.speed_rounds.settings import MeasurableModel, Memory, SpeedSettings
from qpipe.machine.usage import own_peak_rss

LLAMA, TRANSFORMERS = "llama.cpp", "transformers"


def main() -> int:
    """Answer until told to end; 0 unless there was an error."""
    answers = _own_stdout()
    try:
        return _serve(answers)
    except QpipeError as error:
        _answer(answers, {"error": {"type": type(error).__name__, "message": str(error)}})
        return 1


def _own_stdout() -> IO[str]:
    """Keep stdout for answers, and return it; what libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def _serve(answers: IO[str]) -> int:
    request = json.loads(sys.stdin.readline())
    model = _open(request["backend"], Path(request["model"]), SpeedSettings(**request["settings"]))
    _answer(answers, {"version": model.version, "arithmetic": model.arithmetic})
    for line in sys.stdin:
        if line.strip() == "end":
            _answer(answers, asdict(Memory(rss=own_peak_rss(), vram=model.vram())))
            break
        _answer(answers, asdict(model.measure()))
    model.close()
    return 0


def _open(backend: str, model: Path, settings: SpeedSettings) -> MeasurableModel:
    if backend == TRANSFORMERS:
        from qpipe.evaluators.speed_rounds.checkpoint import CheckpointModel

        return CheckpointModel(model, settings)
    from qpipe.evaluators.speed_rounds.llama import LlamaCppModel

    return LlamaCppModel(model, settings)


def _answer(answers: IO[str], answer: Any) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    sys.exit(main())
