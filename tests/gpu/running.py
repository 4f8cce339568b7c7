"""Runs on the machine's GPU, over one store: the reference and the calibration are made once."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.cli import qpipe
from tests.gpu import environments

# CUDA code is compiled at the first use of some tools, beside other tests: GPTQModel's for half a
# minute, exllamav2's for two or three.
TIMEOUT = 420
MODEL = "model.source=builtin:tinystories-d256"
ASKED = ("run", "local", MODEL, "calibration.samples=32", "calibration.length=256", "--json")
MEASURED = ("evaluate.n_ctx=256", "evaluate.chunks=20")


class GpuBench:
    """A folder for runs; ``store`` is shared by all tests."""

    def __init__(self, folder: Path, store: Path) -> None:
        self.folder, self.store = folder, store

    def run(self, *overrides: str, env: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The answer of a run that has to succeed."""
        places = ("--store", str(self.store))
        answer = qpipe(*ASKED, *overrides, *places, cwd=self.folder, env=env, timeout=TIMEOUT)
        assert answer.code == 0, answer.stderr[-4000:]
        found: dict[str, Any] = json.loads(answer.stdout)
        return found

    def measured(self, *overrides: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """(the reference's row, the model's), both measured on the GPU."""
        answer = self.run(*MEASURED, *overrides)
        reference, model = answer["rows"]
        for row in (reference, model):
            assert {m["arithmetic"]["device"] for m in row["measurements"]} == {"cuda"}
        note(overrides, answer["nodes"], model)
        return reference, model

    def events(self) -> list[dict[str, Any]]:
        """What happened in the newest run, in order."""
        newest = max((self.folder / "outputs" / "runs").glob("*/events.jsonl"))
        return [json.loads(line) for line in newest.read_text().splitlines()]


def note(overrides: tuple[str, ...], nodes: list[dict[str, Any]], row: Mapping[str, Any]) -> None:
    """Add a line to the table of what ran, for docs/engines.md."""
    if name := os.environ.get("QPIPE_GPU_RESULTS"):
        quantize = next(node for node in nodes if node["name"].startswith("quantize"))
        line = {
            "how": " ".join(overrides), "seconds": quantize["seconds"], "format": row["format"],
            "bits_per_weight": row["bits_per_weight"], "ppl": row["ppl"],
            "by": row["measurements"][0]["backend"],
        }  # fmt: skip
        with Path(name).open("a") as file:
            file.write(json.dumps(line) + "\n")


def installed(name: str) -> None:
    """Return once an engine's environment is made, by whoever began."""
    command = environments.command(name)
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
