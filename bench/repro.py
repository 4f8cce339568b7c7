"""`qpipe repro`: sizes of all tables from config.json; our own table, warm and from nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.measure import Bench, Row, call, interleaved, seconds
from qpipe.published.load import load, shipped_tables

# Every engine that runs on a CPU, in short: what CI runs.
TABLE = "qpipe-short"


def rows(bench: Bench) -> list[Row]:
    """Sizes of all shipped tables; the short form from an empty store and from a warm one."""
    folder = bench.sub("repro")
    command = [bench.qpipe, "repro", TABLE, "-q", "--json"]
    shutil.rmtree(folder / "outputs", ignore_errors=True)
    empty = seconds(lambda: call(command, cwd=folder))
    stages = _stages(json.loads(call(command, cwd=folder)), folder / "outputs" / "runs")
    taken = interleaved(
        {
            "sizes": lambda: _judged([bench.qpipe, "repro", "--only", "sizes", "--json"], folder),
            "warm": lambda: call(command, cwd=folder),
        },
        rounds=bench.rounds,
    )
    values = sum(len(load(path).values) for path in shipped_tables().values())
    return [
        Row(f"repro --only sizes, tables of {values:,} values", taken["sizes"], "s", limit=3.0),
        Row("repro, short form, warm store", taken["warm"], "s", limit=2.0),
        Row("repro, short form, empty store", empty, "s", "its stages", stages, limit=1.1),
    ]


def _judged(command: Sequence[object], folder: Path) -> None:
    """Run a command that judges values: 4 says that one is off, as published errata are."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    if done.returncode not in (0, 4):
        raise RuntimeError(f"{' '.join(words)}: {done.stderr}")


def _stages(answer: dict[str, Any], runs: Path) -> float:
    """Seconds that the stages of a run took, as their artifacts say."""
    record = json.loads((runs / answer["run"] / "run.json").read_text())
    return sum(float(node["seconds"]) for node in record["nodes"])
