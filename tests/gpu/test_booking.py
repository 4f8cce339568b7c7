"""Booking, CUDA_VISIBLE_DEVICES, and going on after SIGKILL."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qpipe.core.manifest import Manifest
from qpipe.machine import gpus
from tests.cli import by_stage, qpipe
from tests.gpu.running import ASKED, MODEL, TIMEOUT, GpuBench
from tests.killing import files_below, killed_when

MADE = ("evaluate=none",)
NF4 = ("quantize=bnb", "quantize.type=nf4", *MADE)


def planned(folder: Path, *overrides: str, **env: str) -> dict[str, Any]:
    """The node that quantizes, as a plan tells of it."""
    answer = qpipe("plan", "local", MODEL, *overrides, "--json", cwd=folder, env=env, timeout=120)
    assert answer.code == 0, answer.stderr
    found: dict[str, Any] = by_stage(json.loads(answer.stdout)["nodes"])["quantize"]
    return found


def test_a_card_is_booked_by_one_at_a_time(bench: GpuBench) -> None:
    card = gpus.visible()[0]
    visible = {"CUDA_VISIBLE_DEVICES": card}
    bench.run("quantize=bnb", *MADE, "-m", "quantize.type=nf4,fp4", env=visible)
    spans: dict[str, list[float]] = {}
    for event in bench.events():
        if event["event"] in ("NodeStarted", "NodeFinished") and "quantize" in event["name"]:
            spans.setdefault(event["name"], []).append(event["at"])
    first, second = sorted(spans.values())
    assert first[1] <= second[0]


def test_no_card_is_the_cpu(tmp_path: Path) -> None:
    on_cpu = planned(tmp_path, *NF4, CUDA_VISIBLE_DEVICES="")
    assert on_cpu["id"] == planned(tmp_path, *NF4, "quantize.device=cpu")["id"]
    assert on_cpu["id"] != planned(tmp_path, *NF4)["id"]


def test_a_card_that_is_not_there(tmp_path: Path) -> None:
    env = {"CUDA_VISIBLE_DEVICES": "99"}
    answer = qpipe(*ASKED, *NF4, "quantize.device=cuda", cwd=tmp_path, env=env, timeout=120)
    assert answer.code != 0
    assert "99" in answer.stderr


@pytest.mark.parametrize("how", [("quantize=gptq",), ("quantize=autoround", "quantize.iters=32")])
def test_it_goes_on_after_a_kill(bench: GpuBench, how: tuple[str, ...]) -> None:
    store = bench.folder / "store"
    leaves = "CURRENT" if how == ("quantize=gptq",) else "layers.pt"
    asked = (*ASKED, *MADE, *how, "--store", str(store))
    killed_when(
        lambda: files_below(store / "partial", leaves) or None,
        *asked, cwd=bench.folder, timeout=TIMEOUT,
    )  # fmt: skip
    again = GpuBench(bench.folder, store).run(*MADE, *how)
    artifact = Path(by_stage(again["nodes"])["quantize"]["artifact"])
    assert Manifest.load(artifact).facts["resumed_layers"] in (1, 2, 3)
