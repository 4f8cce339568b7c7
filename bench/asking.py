"""The stories put to one model, in the process that `bench.tasks` measures.

`python -m bench.asking ours|hflm FOLDER` prints seconds, and the log-probabilities of each
question's choices. FOLDER holds one GGUF file.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

THREADS = 2
_TASKS = Path(__file__).parents[1] / "tests" / "data" / "tasks" / "stories"


def main(way: str, folder: str) -> None:
    """Ask, and print."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from qpipe.evaluators.harness.evaluation import EvaluationOptions, run
    from qpipe.evaluators.harness.loader import load

    lm = _open(way, Path(folder))
    loaded = load(["stories"], include_path=_TASKS, trusted=None, num_fewshot=5, gen_kwargs=None)
    how = EvaluationOptions(limit=None, chat_template=False, system_instruction=None)
    with tempfile.TemporaryDirectory() as journal:
        started = time.perf_counter()
        found = run(
            lm, loaded, how, journal=Path(journal) / "answers.jsonl", progress=lambda *_: None
        )
        seconds = time.perf_counter() - started
    samples = found["samples"]["stories"]
    answers = [[answer[0][0] for answer in sample["resps"]] for sample in samples]
    print(json.dumps({"seconds": seconds, "answers": answers}))


def _open(way: str, folder: Path) -> Any:
    if way == "ours":
        from qpipe.evaluators.harness.gguf import GgufLM

        return GgufLM(next(folder.glob("*.gguf")), threads=THREADS)
    from qpipe.evaluators.harness.checkpoints import open_checkpoint

    return open_checkpoint(folder, threads=THREADS, date=None, stack=ExitStack())[0]


if __name__ == "__main__":
    main(*sys.argv[1:])
