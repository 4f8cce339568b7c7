"""Every engine that works on a CPU, from its recipe: it quantizes, its output is whole, a
process that did not make it loads it, and it loses no more than rounding to the nearest does at the
same bits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.engines.running import MODEL, Bench
from tests.engines.ways import EIGHT, FOUR, GGUF, LEARNED, LEARNED_GGUF, RTN

# One worker, one store: each way of quantizing is run once for all tests.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("engines")]

# What rounding so few windows' perplexity differs by for no reason, in parts of the perplexity.
NOISE = 0.005


def lost(rows: list[dict[str, Any]]) -> float:
    """How much perplexity rose, in parts of the reference's."""
    reference, made = rows
    return float(made["ppl"] / reference["ppl"] - 1)


@pytest.mark.parametrize(("label", "how"), [*FOUR.items(), *LEARNED.items()], ids=str)
def test_four_bits(bench: Bench, label: str, how: tuple[str, ...]) -> None:
    rows = bench.rows(*how)
    assert [row["format"] for row in rows] == ["BF16", label]
    # Four bits, scales and zero points of 128 weights, and embeddings in half precision.
    assert 5.0 < rows[-1]["bits_per_weight"] < 5.5
    assert rows[-1]["weights"] == 3_410_176
    assert -NOISE < lost(rows) < lost(bench.rows(*RTN)) + NOISE


@pytest.mark.parametrize(("label", "how"), EIGHT.items(), ids=EIGHT)
def test_eight_bits(bench: Bench, label: str, how: tuple[str, ...]) -> None:
    rows = bench.rows(*how)
    assert rows[-1]["format"] == label
    assert 8.5 < rows[-1]["bits_per_weight"] < 9
    assert -NOISE < lost(rows) < NOISE


def test_autoround_makes_gguf_files_too(bench: Bench) -> None:
    rows = bench.rows(*LEARNED_GGUF)
    assert rows[-1]["format"] == "Q4_K_M"
    assert [path.name for path in bench.artifact(*LEARNED_GGUF).glob("*.gguf")] == ["model.gguf"]
    assert -NOISE < lost(rows) < lost(bench.rows(*GGUF)) + NOISE


@pytest.mark.parametrize("how", [*FOUR.values(), *EIGHT.values(), *LEARNED.values()], ids=str)
def test_the_folder_is_what_runtimes_expect(bench: Bench, how: tuple[str, ...]) -> None:
    made = bench.artifact(*how)
    for name in ("tokenizer.json", "tokenizer.model", "generation_config.json"):
        assert (made / name).read_bytes() == (MODEL / name).read_bytes()
    config = json.loads((made / "config.json").read_text())
    original = json.loads((MODEL / "config.json").read_text())
    quantization = config.pop("quantization_config")
    assert {**config, "dtype": None} == {**original, "dtype": None}
    if quantization["quant_method"] in ("gptq", "awq"):
        beside = json.loads((made / "quantize_config.json").read_text())
        assert beside["bits"] == quantization["bits"] == 4
    # Nothing of the machine that it was made on, nor of the hour.
    kept = [path.name for path in made.iterdir()]
    assert not [name for name in kept if name.endswith((".csv", ".log", ".bin"))]
    assert str(Path.home()) not in (made / "config.json").read_text()
    assert "/tmp" not in (made / "config.json").read_text()


def test_calibration_is_read_once_and_delivered_whole(bench: Bench) -> None:
    first = bench.document(*FOUR["GPTQ-4bit-g128"])
    other = bench.document(*FOUR["GPTQ-4bit-g128-actorder"])
    keys = [
        next(n["key"] for n in run["nodes"] if n["stage"] == "calibrate") for run in (first, other)
    ]
    assert keys[0] == keys[1]
    facts = bench.manifest(*FOUR["GPTQ-4bit-g128"])["facts"]
    assert facts["calibration_tokens"] == 8 * 64
    assert facts["modules"] == 28 and facts["modules_short_of_tokens"] == []
