"""What `device` does where there is a card: keys, facts and arithmetic of both kinds of device."""

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
# By the overrides that choose an engine, the module it needs.
ENGINES = {
    "quantize=autoround quantize.iters=32": "auto_round",
    "quantize=awq": "gptqmodel",
    "quantize=awq quantize.engine=llmcompressor": "llmcompressor",
    "quantize=bnb": "bitsandbytes",
    "quantize=gptq": "gptqmodel",
    "quantize=gptq quantize.engine=llmcompressor": "llmcompressor",
    "quantize=int8": "torchao",
    "quantize=rtn": "llmcompressor",
}


def rows(folder: Path, *overrides: str) -> list[dict[str, Any]]:
    answer = qpipe(*RECIPE, *overrides, cwd=folder, timeout=420)  # tools compile at first use
    assert answer.code == 0, answer.stderr
    made: list[dict[str, Any]] = json.loads(answer.stdout)["rows"]
    return made


def arithmetic(row: dict[str, Any]) -> dict[str, Any]:
    (measured,) = row["measurements"]
    told: dict[str, Any] = measured["arithmetic"]
    return told


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_engines_compute_on_the_card_and_are_measured_in_float32(
    tmp_path: Path, engine: str
) -> None:
    pytest.importorskip(ENGINES[engine])
    reference, model = rows(tmp_path, *engine.split())
    assert model["computed_on"]["device"] == "cuda" and model["computed_on"]["gpu"]
    for row in (reference, model):
        told = arithmetic(row)
        assert (told["device"], told["precision"]) == ("cuda", "float32")
        assert "kernel_precision" not in told
        assert told["gpu"] == model["computed_on"]["gpu"]
    assert model["unlike"] == []
    assert model["ppl"] < reference["ppl"] * 1.05


def test_a_key_for_each_kind_of_device(tmp_path: Path) -> None:
    pytest.importorskip("llmcompressor")
    on = ("quantize.device={0}", "evaluate.device={0}")
    gpu, cpu = (
        rows(tmp_path, "quantize=rtn", *(one.format(device) for one in on))
        for device in ("cuda", "cpu")
    )
    assert gpu[1]["key"] != cpu[1]["key"]
    assert gpu[0]["key"] == cpu[0]["key"]  # the checkpoint itself
    assert gpu[0]["measurements"][0]["key"] != cpu[0]["measurements"][0]["key"]
    assert [row[1]["computed_on"]["device"] for row in (gpu, cpu)] == ["cuda", "cpu"]
    assert gpu[0]["ppl"] == pytest.approx(cpu[0]["ppl"], rel=1e-4)


def test_the_card_is_not_used_where_it_is_not_asked_for(tmp_path: Path) -> None:
    pytest.importorskip("gptqmodel")
    for way in ("quantize.device=cpu", "++stages.quantize.resources.gpus=0"):
        _, model = rows(tmp_path, "quantize=gptq", way, "evaluate=none")
        assert model["computed_on"]["device"] == "cpu"
        assert model["computed_on"]["instructions"]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_both_are_measured_in_another_precision(tmp_path: Path, dtype: str) -> None:
    pytest.importorskip("gptqmodel")
    reference, model = rows(tmp_path, "quantize=gptq", f"evaluate.dtype={dtype}")
    assert {arithmetic(row)["precision"] for row in (reference, model)} == {dtype}
    assert arithmetic(model)["kernel"] == "TorchLinear"
    assert model["unlike"] == []


def test_another_kernel_is_named(tmp_path: Path) -> None:
    pytest.importorskip("gptqmodel")
    asked = ("evaluate.dtype=float16", "evaluate.kernel=triton")
    _, model = rows(tmp_path, "quantize=gptq", *asked)
    assert "Triton" in arithmetic(model)["kernel"]
