"""CUDA engines in their own environments: made, loaded and measured."""

from __future__ import annotations

import pytest

from tests.gpu.running import GpuBench, installed


@pytest.mark.parametrize("act_order", ["false", "true"])
def test_auto_gptq(bench: GpuBench, act_order: str) -> None:
    installed("auto-gptq")
    how = ("quantize=gptq", "quantize.engine=auto-gptq", f"quantize.desc_act={act_order}")
    reference, model = bench.measured(*how)
    assert model["format"].startswith("GPTQ-4bit-g128")
    assert model["ppl"] < reference["ppl"] * 1.05
    assert model["weights"] == reference["weights"]


def test_autoawq(bench: GpuBench) -> None:
    installed("autoawq")
    reference, model = bench.measured("quantize=awq", "quantize.engine=autoawq")
    assert model["format"] == "AWQ-4bit-g128"
    assert model["ppl"] < reference["ppl"] * 1.05


def test_exl2_measures_modules_once(bench: GpuBench) -> None:
    installed("exllamav2")
    bits = ("-m", "quantize.bits=3.0,5.0")
    answer = bench.run("evaluate.n_ctx=256", "evaluate.chunks=20", "quantize=exl2", *bits)
    assert sum(node["name"].startswith("measure[") for node in answer["nodes"]) == 1
    small, large = (row for row in answer["rows"] if str(row["format"]).startswith("EXL2"))
    assert small["size_bytes"] < large["size_bytes"]
    assert small["ppl"] > large["ppl"]
    for row in (small, large):
        assert row["measurements"][0]["backend"].startswith("exllamav2 0.3.2 (torch ")


def test_exl2_and_its_reference_by_one_backend(bench: GpuBench) -> None:
    installed("exllamav2")
    how = ("quantize=exl2", "quantize.bits=5.0", "evaluate.backend=exllamav2")
    reference, model = bench.measured(*how)
    by = {row["measurements"][0]["backend"] for row in (reference, model)}
    assert len(by) == 1
    assert reference["ppl"] < model["ppl"] < reference["ppl"] * 1.05
