"""CUDA engines in their own environments, on the model that comes with qpipe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qpipe.machine import gpus
from tests.cli import qpipe

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(not gpus.visible(), reason="needs an NVIDIA GPU"),
]

RECIPE = (
    "run", "local", "model.source=builtin:tinystories-d256", "evaluate.n_ctx=256",
    "evaluate.chunks=20", "calibration.samples=32", "calibration.length=256", "--json",
)  # fmt: skip


def rows(folder: Path, *overrides: str) -> list[dict[str, Any]]:
    answer = qpipe(*RECIPE, *overrides, cwd=folder)
    assert answer.code == 0, answer.stderr
    found: list[dict[str, Any]] = json.loads(answer.stdout)["rows"]
    return found


def test_auto_gptq(tmp_path: Path) -> None:
    for act_order in ("false", "true"):
        reference, model = rows(
            tmp_path, "quantize=gptq", "quantize.engine=auto-gptq", f"quantize.desc_act={act_order}"
        )
        assert model["format"].startswith("GPTQ-4bit-g128")
        assert model["ppl"] < reference["ppl"] * 1.05


def test_autoawq(tmp_path: Path) -> None:
    reference, model = rows(tmp_path, "quantize=awq", "quantize.engine=autoawq")
    assert model["format"] == "AWQ-4bit-g128"
    assert model["ppl"] < reference["ppl"] * 1.05


def test_exl2_measures_once(tmp_path: Path) -> None:
    answer = qpipe(
        *RECIPE, "quantize=exl2", "evaluate=none", "-m", "quantize.bits=3.0,5.0", cwd=tmp_path
    )
    assert answer.code == 0, answer.stderr
    found = json.loads(answer.stdout)
    assert sum(node["name"].startswith("measure[") for node in found["nodes"]) == 1
    small, large = (row for row in found["rows"] if str(row["format"]).startswith("EXL2"))
    assert small["size_bytes"] < large["size_bytes"]
