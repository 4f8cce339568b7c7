"""What this machine lacks is said before anything runs, by `qpipe plan` and `qpipe run` alike."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli import by_stage, called

SOURCE = "model.source=builtin:tinystories-d256"
HUGE = "executor.memory=1KB"


def test_a_missing_tool(tmp_path: Path) -> None:
    recipe = ("local", SOURCE, "quantize.engine=llama.cpp")
    nothing_on_path = {"PATH": str(tmp_path)}
    planned = called("plan", *recipe, cwd=tmp_path, env=nothing_on_path)
    assert planned.code == 3
    assert (
        "\nquantize[tinystories-d256 Q8_0] would fail: llama-quantize is not on PATH: build llama"
        in planned.stdout
    )
    ran = called("run", *recipe, "--json", cwd=tmp_path, env=nothing_on_path)
    assert ran.code == 3
    nodes = by_stage(json.loads(ran.stdout)["nodes"])
    assert nodes["quantize"]["error"]["type"] == "EngineMissingError"
    assert nodes["download"]["status"] == "skipped"


def test_too_little_memory(tmp_path: Path) -> None:
    planned = called("plan", "local", SOURCE, HUGE, "--json", cwd=tmp_path)
    assert planned.code == 3
    nodes = by_stage(json.loads(planned.stdout)["nodes"])
    assert "0.0 GB may be used (executor.memory" in nodes["quantize"]["error"]
    ran = called("run", "local", SOURCE, HUGE, cwd=tmp_path)
    assert ran.code == 3
    assert not (tmp_path / "outputs" / "store" / "artifacts").exists()
