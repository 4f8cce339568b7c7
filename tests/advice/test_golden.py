"""Golden cases: for each rule a machine and a need for which it decides."""

from __future__ import annotations

from typing import Any

import pytest

from qpipe.advice.rulebook import rulebook
from qpipe.session.estimating.function import estimate
from tests.advice.machines import (
    A100,
    BLACKWELL,
    CARD_24,
    CPU_32,
    H100,
    LAPTOP,
    MODEL,
    formats,
    left_out,
    of,
)

V100 = {"gpu": "V100"}
T4 = {"gpu": "T4"}
RTX_4090 = {"gpu": "RTX 4090"}
APPLE = {"gpu": "M3 Max 64GB"}


@pytest.mark.parametrize(
    ("machine", "needs", "first"),
    [
        # 8 GB of RAM, no GPU: the hub's own default, and it fits.
        (LAPTOP, {}, ["Q4_K_M", "Q4_K_S"]),
        (CPU_32, {}, ["Q4_K_M", "Q6_K", "Q5_K_M"]),
        (CPU_32, {"prefer": "quality"}, ["Q8_0", "Q6_K"]),
        (CPU_32, {"prefer": "size"}, ["IQ2_M", "Q2_K"]),
        (CPU_32, {"runtime": "ollama"}, ["Q4_K_M"]),
        # A card of 24 GB holds the largest types whole.
        (CARD_24, {}, ["Q8_0", "Q6_K"]),
        (CARD_24, {"runtime": "exllama"}, ["EXL2-8.0bpw", "EXL2-6.0bpw"]),
        (CARD_24, {"runtime": "ollama"}, ["Q8_0", "Q6_K"]),
        (CARD_24, {"runtime": "vllm"}, ["GPTQ-4bit-g128", "AWQ-4bit-g128"]),
        (CARD_24, {"runtime": "transformers"}, ["GPTQ-4bit-g128", "AWQ-4bit-g128"]),
        (RTX_4090, {}, ["Q8_0", "Q6_K"]),
        (APPLE, {}, ["Q8_0", "Q6_K"]),
        # Data centre: vLLM's formats.
        (H100, {}, ["FP8", "GPTQ-4bit-g128", "AWQ-4bit-g128"]),
        (H100, {"runtime": "vllm", "batch": 32}, ["FP8"]),
        (A100, {}, ["GPTQ-4bit-g128", "AWQ-4bit-g128"]),
        (A100, {"runtime": "vllm", "batch": 32}, ["W8A8"]),
        (BLACKWELL, {"runtime": "vllm"}, ["NVFP4", "FP8"]),
    ],
)
def test_what_comes_first(machine: Any, needs: Any, first: list[str]) -> None:
    assert formats(of(machine, **needs))[: len(first)] == first


@pytest.mark.parametrize(
    ("machine", "needs", "format", "rule"),
    [
        (A100, {"runtime": "vllm"}, "FP8", "fp8-hardware"),
        (CARD_24, {"runtime": "vllm"}, "FP8", "fp8-hardware"),
        (H100, {"runtime": "vllm"}, "NVFP4", "nvfp4-hardware"),
        (BLACKWELL, {"runtime": "vllm"}, "W8A8", "int8-hardware-new"),
        (V100, {"runtime": "vllm"}, "W8A8", "int8-hardware-old"),
        (V100, {"runtime": "vllm"}, "AWQ-4bit-g128", "awq-hardware"),
        (T4, {"runtime": "vllm"}, "BF16", "bf16-hardware"),
        (CPU_32, {"runtime": "ollama"}, "AWQ-4bit-g128", "ollama-gguf"),
        (H100, {"runtime": "vllm"}, "Q4_K_M", "vllm-no-gguf"),
        ({"gpu": "MI300X"}, {"runtime": "vllm"}, "AWQ-4bit-g128", "amd-kernels"),
        ({"gpu": "RX 7900 XTX"}, {"runtime": "vllm"}, "FP8", "amd-fp8"),
        (APPLE, {"runtime": "vllm"}, "BF16", "apple-vllm"),
        (APPLE, {"runtime": "exllama"}, "EXL2-4.0bpw", "apple-exllama"),
    ],
)
def test_what_is_left_out(machine: Any, needs: Any, format: str, rule: str) -> None:  # noqa: A002
    answer = of(machine, **needs)
    assert format not in formats(answer)
    assert left_out(answer)[format] == rule


def test_fp8_on_amds_data_centre() -> None:
    assert formats(of({"gpu": "MI300X"}, runtime="vllm"))[0] == "FP8"


def test_every_rule_decides_somewhere() -> None:
    """A rule that holds in no case here could say anything."""
    cases: list[tuple[Any, Any]] = [
        (CPU_32, {}),
        (CPU_32, {"prefer": "quality"}),
        (CARD_24, {"ram": "32GB"}),
        (CARD_24, {"prefer": "quality"}),
        (H100, {}),
        (H100, {"runtime": "vllm", "batch": 32}),
        (BLACKWELL, {"runtime": "vllm"}),
        (V100, {"runtime": "vllm"}),
        (T4, {"runtime": "vllm"}),
        (CARD_24, {"runtime": "exllama", "batch": 2}),
        (CARD_24, {"runtime": "transformers"}),
        (CPU_32, {"runtime": "ollama"}),
        ({"gpu": "MI300X"}, {"runtime": "vllm"}),
        ({"gpu": "RX 7900 XTX"}, {"runtime": "vllm"}),
        (APPLE, {"runtime": "vllm"}),
        (APPLE, {"runtime": "exllama"}),
    ]
    decided = set()
    for machine, needs in cases:
        answer = of(machine, **needs)
        decided |= {rule.id for row in answer.rows for rule in row.candidate.rules}
        decided |= {each.rule.id for each in answer.ranking.left_out if each.rule}
        decided |= {lever.rule.id for lever in answer.levers}
    assert {rule.id for rule in rulebook().rules} - decided == set()


def test_low_bits_come_with_a_warning_and_an_importance_matrix() -> None:
    answer = of(CPU_32, prefer="size")
    record = answer.record()["rows"][0]
    assert "imatrix=calibrated" in record["command"]
    assert any("The smallest are Q4_0 and below" in words for words in record["gives_up"])


def test_a_model_that_is_too_large_for_the_card_is_shared() -> None:
    answer = of({"gpu": "RTX 4090", "ram": "64GB"}, model="meta-llama/Llama-3.1-70B")
    first = answer.rows[0].candidate
    assert (first.format, first.footprint.device) == ("Q4_K_M", "cpu+gpu")
    assert 0 < (first.footprint.layers or 0) < 81
    assert first.footprint.on("gpu") <= answer.machine.gpu_room(answer.book, first.runtime)
    assert first.footprint.on("cpu") <= answer.machine.cpu_room(answer.book)


def test_a_quality_floor() -> None:
    answer = of(CPU_32, min_quality="kld=0.02")
    assert {"Q8_0", "Q6_K", "Q5_K_M"} <= {*formats(answer)} and "Q4_K_M" not in formats(answer)
    assert all(row.doubts for row in answer.rows if row.quality), "another model's: an indication"
    below = {each.format: each.why for each in answer.ranking.below_floor}
    assert below["Q4_K_M"] == "KLD 0.031, kld=0.02 is asked for"


def test_what_nothing_is_known_of_is_no_row_under_a_floor() -> None:
    answer = of(CARD_24, runtime="exllama", min_quality="kld=0.02")
    assert not any(name.startswith("EXL2") for name in formats(answer))
    assert {each.format for each in answer.ranking.undecided} >= {"EXL2-6.0bpw"}


def test_a_speed_floor() -> None:
    answer = of(RTX_4090, runtime="llama.cpp", min_speed="150")
    speeds = {row.candidate.format: row.candidate.speed for row in answer.rows}
    assert "Q8_0" not in speeds, "1,008 GB/s over 8.0 GB: at most 126 tokens a second"
    assert "Q4_K_M" in speeds
    assert all(each and each.tokens_per_second >= 150 for each in speeds.values())


def test_nothing_fits() -> None:
    answer = of({"ram": "4GB"}, model="meta-llama/Llama-3.1-70B")
    assert answer.rows == ()
    smallest = answer.smallest
    assert smallest is not None and smallest.format == "IQ2_M"
    room = answer.machine.cpu_room(answer.book)
    assert smallest.lacks == smallest.footprint.total - room > 0
    assert all(each.fits is False for each in answer.levers if each.saves is not None)


def test_a_lever_that_makes_it_fit_says_so() -> None:
    whole = of({"ram": "8GB"}, ctx=131072)
    assert whole.rows == ()
    levers = {each.rule.id: each for each in whole.levers}
    assert levers["context"].fits and levers["context"].setting
    context = int((levers["context"].setting or "").split()[-1])
    assert formats(of({"ram": "8GB"}, ctx=context)), "the setting that is named makes it fit"


def test_bytes_that_a_lever_saves() -> None:
    answer = of(CPU_32, ctx=32768)
    saved = next(each.saves for each in answer.levers if each.rule.id == "kv-cache")
    # 32 layers, 8 heads of 128, keys and values: 2 bytes each, in q8_0 34 bytes for 32; what is
    # computed with them takes a little more.
    assert saved == pytest.approx(32768 * 32 * 8 * 128 * 2 * (2 - 34 / 32), abs=1 << 20)


def test_memory_that_a_gpu_shares_is_counted_once() -> None:
    answer = of({**APPLE, "ram": "64GB"}, model="meta-llama/Llama-3.1-70B")
    assert answer.machine.ram is None
    assert all(row.candidate.footprint.device == "gpu" for row in answer.rows)
    assert any("48 of its 64 GiB" in note for note in answer.notes)


def test_the_longest_context_of_the_best_row() -> None:
    answer = of(LAPTOP)
    assert answer.longest is not None and answer.longest > answer.needs.context
    assert formats(of(LAPTOP, ctx=answer.longest))[0] == formats(answer)[0]
    assert formats(of(LAPTOP, ctx=2 * answer.longest))[:1] != formats(answer)[:1]


def test_one_context_where_none_is_asked_for() -> None:
    assert of(CPU_32).needs.context == estimate(MODEL, ["Q4_K_M"]).context == 8192
    assert of(CPU_32, model="huggyllama/llama-7b").needs.context == 2048
