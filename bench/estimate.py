"""How long an estimate takes: the answer itself, and the command with Python's start."""

from __future__ import annotations

from statistics import median

from bench.measure import Bench, Row, call

_MODELS = ("meta-llama/Llama-3.1-8B", "Qwen/Qwen3-30B-A3B", "google/gemma-3-27b-it")
_LIMIT = 0.15

# The first answer of a process, so that nothing of it is remembered; imports are the start's.
_ONCE = """
import sys, time
from qpipe.commands import estimate_text
from qpipe.gguf import arch
from qpipe.session.estimating.conditions import of_options
from qpipe.session.estimating.estimate import estimate
arch.supported()
asked = of_options("llama.cpp", ["24GB"], None)
start, spent = time.perf_counter(), time.process_time()
answer = estimate(sys.argv[1], conditions=asked)
text = "\\n".join(estimate_text.lines(answer))
took = time.perf_counter() - start, time.process_time() - spent
print(*took if len(answer.rows) >= 20 else 1 / 0)
"""


def rows(bench: Bench) -> list[Row]:
    """Two rows a model, in seconds of wall time and of one core (other work on the machine makes
    the former longer): some twenty formats; and one of the whole command."""
    folder = bench.sub("estimate")
    found = []
    for model in _MODELS:
        words = [bench.python, "-c", _ONCE, model]
        answers = [call(words, cwd=folder).split() for _ in range(bench.rounds)]
        wall, core = (median(float(each[i]) for each in answers) for i in range(2))
        name = f"estimate of {model.rpartition('/')[2]}, 21 formats"
        found.append(Row(name, wall, "s", limit=_LIMIT))
        found.append(Row(f"{name}, of a core", core, "s"))
    timed = "import subprocess, sys, time; s = time.perf_counter(); "
    timed += "subprocess.run(sys.argv[1:], check=True, capture_output=True); "
    timed += "print(time.perf_counter() - s)"
    command = [bench.python, "-c", timed, bench.qpipe, "estimate", _MODELS[0], "--gpu", "24GB"]
    whole = [float(call(command, cwd=folder)) for _ in range(bench.rounds)]
    return [*found, Row("qpipe estimate, with Python's start", median(whole), "s")]
