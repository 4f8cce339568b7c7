"""Composing and planning a sweep of 1,000 jobs over values, beside Hydra's own composition."""

from __future__ import annotations

import json
import shutil

from bench import sweep
from bench.measure import Bench, Row, call, interleaved

_JOBS = 1000
_SAMPLE = 50
_SWEEP = ("quantize.type=Q8_0,Q5_0,Q5_1,Q4_0,Q4_1", "evaluate.chunks=range(1,201)")

# What Hydra does for a job of a multirun, without launching it; prints seconds.
_HYDRA = """
import sys, time
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from qpipe.recipe.load.sweep import register
register()
folder, count = sys.argv[1], int(sys.argv[2])
with initialize_config_dir(folder, version_base="1.3"):
    started = time.perf_counter()
    for chunks in range(1, count + 1):
        job = compose("demo", ["quantize.type=Q8_0", f"evaluate.chunks={chunks}"])
        OmegaConf.to_container(job, resolve=True, throw_on_missing=True)
    print(time.perf_counter() - started)
"""


def rows(bench: Bench) -> list[Row]:
    """Our whole command, against the seconds that Hydra alone needs for the composition."""
    folder = bench.sub("composing")
    store = folder / "store"
    command = [bench.qpipe, "plan", "demo", *_SWEEP, "-m", "--json", "--store", store]
    nodes = json.loads(call(command, cwd=folder))["nodes"]
    assert sum(node["name"].startswith("perplexity[") for node in nodes) == _JOBS, nodes[:9]
    per_job: list[float] = []

    def anew() -> None:
        shutil.rmtree(store / "plans", ignore_errors=True)
        call(command, cwd=folder)

    def hydra() -> None:
        script = [bench.python, "-c", _HYDRA, _recipes(bench), str(_SAMPLE)]
        per_job.append(float(call(script, cwd=folder)) / _SAMPLE)

    taken = interleaved(
        {"hydra": hydra, "anew": anew, "remembered": lambda: call(command, cwd=folder)},
        rounds=bench.rounds,
    )
    theirs = sorted(per_job)[len(per_job) // 2] * _JOBS
    peer = f"Hydra composing only, {_SAMPLE} jobs × {_JOBS // _SAMPLE}"
    what = f"qpipe plan, {_JOBS:,} jobs ({len(nodes):,} nodes)"
    return [
        Row(f"{what}, limit", taken["anew"], "s", limit=10),
        Row(f"{what}, composed anew", taken["anew"], "s", peer, theirs),
        Row(f"{what}, remembered", taken["remembered"], "s", peer, theirs),
    ]


def _recipes(bench: Bench) -> str:
    code = "from qpipe.recipe.request import shipped_recipes; print(shipped_recipes())"
    return call([bench.python, "-c", code], cwd=sweep.RECIPE.parent).strip()
