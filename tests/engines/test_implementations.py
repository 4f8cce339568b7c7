"""A fine-tune's config.json that asks for a package which is not here: computed without it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.engines.running import Bench
from tests.engines.ways import GPTQ_RULED, WISHED, WISHED_PACKED

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("engines")]


@pytest.mark.parametrize("way", WISHED, ids=" ".join)
def test_it_is_quantized_and_measured(way: tuple[str, ...], bench: Bench) -> None:
    reference, row = bench.rows(*way)
    assert 0.9 < row["ppl"] / reference["ppl"] < 1.2
    assert "implementation" not in (Path(row["artifact"]) / "config.json").read_text()


def test_a_packed_checkpoint_that_gptqmodel_reads_is_measured(bench: Bench) -> None:
    config = json.loads((bench.artifact(*GPTQ_RULED) / "config.json").read_text())
    assert config["quantization_config"]["dynamic"]
    (measured,) = bench.rows(*WISHED_PACKED)
    assert measured["ppl"] == bench.rows(*GPTQ_RULED)[-1]["ppl"]
