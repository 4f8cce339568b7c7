"""Engines of eight bits once on the GPU, their models loaded and measured there; those of four bits
are in test_device."""

from __future__ import annotations

import pytest

from tests.gpu.running import GpuBench

# How, a part of what comes out is called, and how much larger the perplexity may be.
ENGINES = [
    (("quantize=bnb", "quantize.type=int8"), "int8", 1.02),
    (("quantize=int8", "quantize.scheme=w8a8"), "int8", 1.02),
    (("quantize=int8", "quantize.engine=llmcompressor", "quantize.scheme=w8a8"), "w8a8", 1.02),
]


@pytest.mark.parametrize(("how", "form", "most"), ENGINES, ids=lambda value: str(value)[:60])
def test_an_engine(bench: GpuBench, how: tuple[str, ...], form: str, most: float) -> None:
    reference, model = bench.measured(*how)
    assert form in model["format"].casefold()
    assert model["ppl"] < reference["ppl"] * most
    assert model["size_bytes"] < reference["size_bytes"]
