"""What `qpipe inspect` says of packed checkpoints: bits and groups, and bits per weight by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qpipe.packed.inspect import inspect
from tests.cli import called
from tests.packed.checkpoints import around, checkpoint, plain
from tests.packed.test_structure import FORMATS, gptq, nf4_twice, state

STATE = state(64, 128).nbytes
NESTED = nf4_twice()[0]["weight.quant_state.bitsandbytes__nf4"].nbytes
# Of each weight of a matrix of 64 rows and 128 columns: its own bits, and those of what it shares.
EXPECTED: dict[str, tuple[list[float], list[int], float]] = {
    "GPTQ-4bit-g32-actorder": ([4], [32], 4 + 16 / 32 + 4 / 32 + 32 / 64),
    "AWQ-4bit-g64": ([4], [64], 4 + 16 / 64 + 4 / 64),
    "AWQ-4bit-g64-GEMV": ([4], [64], 4 + 16 * 16 / 128 + 2 * 32 / 128),
    "AWQ-4bit-g64-GEMV_FAST": ([4], [64], 4 + 2 * 16 * 16 * 64 / 8192),
    "AWQ-4bit-g64-Marlin": ([4], [64], 4 + 16 / 64),
    "W4A16-g64": ([4], [64], 4 + 16 / 64 + 4 / 64 + 2 * 64 / 8192),
    "W8A8": ([8], [-1], 8 + 16 / 128),
    "bnb-NF4": ([4], [64], 4 + 32 / 64 + (16 * 32 + STATE * 8) / 8192),
    "bnb-INT8": ([8], [-1], 8 + 32 / 128),
    "AutoRound-4bit-g128": ([4], [32], 4 + 16 / 32 + 4 / 32 + 32 / 64),
    "AutoRound-4bit-g64": ([4], [64], 4 + 16 / 64 + 4 / 64),
    "ao-W8A16": ([8], [-1], 8 + 32 / 128),
    "FP8-dynamic": ([8], [-1], 8 + 16 / 128),
    "FP8": ([8], [], 8 + 2 * 16 / 8192),
    "FP8-block": ([8], [], 8 + 4 * 16 / 8192),
    "MXFP8A16": ([8], [32], 8 + 8 / 32),
    "NVFP4A16": ([4], [16], 4 + 8 / 16 + 32 / 8192),
    "MXFP4": ([4], [32], 4 + 8 / 32),
    "W8A16": ([8], [], 8 + 16 / 8192),
    "W3A16-g64": ([3], [64], 3 + 16 / 64 + 3 / 64 + 2 * 64 / 8192),
    "W6A16-g64": ([6], [64], 6 + 16 / 64 + 6 / 64 + 2 * 64 / 8192),
    "W3A16-g64 loosely": ([3], [64], 13 * 32 / 128 + 16 / 64 + 14 * 32 / 8192 + 2 * 64 / 8192),
    "bnb-NF4 in bf16": ([4], [64], 4 + 32 / 64 + (16 * 32 + STATE * 8) / 8192),
    "bnb-NF4-dq": ([4], [64], 4 + 8 / 64 + (2 + 256 + 16) * 32 / 8192 + NESTED * 8 / 8192),
    "FP8-block deepseek": ([8], [], 8 + 6 * 32 / 8192),
    "FP8 whole": ([8], [], 8 + 32 / 8192),
    "ao-FP8A16": ([8], [-1], 8 + 32 / 128),
    "ao-W4A16-g32": ([4], [32], 8 + 16 / 32 + 8 / 32),
    "AutoRound-NVFP4": ([4], [16], 4 + 8 / 16 + 32 / 8192),
    "AutoRound-MXFP8": ([8], [32], 8 + 8 / 32),
    "AutoRound-FP8": ([8], [-1], 8 + 16 / 128 + 16 / 8192),
    "ao-NVFP4A16": ([4], [16], 4 + 8 * 1024 / 8192 + 32 / 8192),
    "ao-MXFP8": ([8], [32], 8 + 8 * 512 / 8192),
    "ao-mixed": ([4], [32], 8 + 16 / 32 + 8 / 32),
    "NVFP4-AWQ": ([4], [16], 4 + 8 / 16 + (2 * 32 + 128 * 16) / 8192),
    "W4AFP8-AWQ": ([4], [64], 4 + 32 / 64 + 2 * 32 / 8192),
    "FP8-block modelopt": ([8], [], 8 + 8 * 32 / 8192),
    "mixed": ([4], [32], 4 + 8 / 32 + 32 / 8192),
    "W8A8-SmoothQuant": ([8], [-1], 8 + 32 / 128 + (32 + 128 * 16) / 8192),
    "MXFP8": ([8], [32], 8 + 8 / 32),
    "AutoRound-FP8-block": ([8], [], 8 + 6 * 32 / 8192),
}


@pytest.mark.parametrize("label", FORMATS)
def test_bits_and_groups(tmp_path: Path, label: str) -> None:
    parts, config = FORMATS[label]()
    found = inspect(checkpoint(tmp_path, around(parts), quantization_config=config))
    packed = found["quantization"]
    bits, groups, each = EXPECTED[label]
    assert (packed["bits"], packed["group_sizes"]) == (bits, groups)
    assert packed["bits_per_weight"] == pytest.approx(each, rel=1e-12)
    assert (packed["modules"], packed["weights"]) == (1, 64 * 128)
    assert packed["kept"] == ["model.embed_tokens.weight"]
    assert packed["format"] == found["file_type"] == label.split()[0]
    assert packed["method"] == config["quant_method"]
    assert found["parameters"] == 32 * 128 + 128 + 64 * 128
    assert found["tensor_bytes"] == sum(array.nbytes for array in around(parts).values())


@pytest.mark.parametrize(
    ("said", "tool"),
    [
        ({}, None),
        ({"meta": {"quantizer": ["gptqmodel:7.6.0"]}}, "gptqmodel 7.6.0"),
        ({"autoround_version": "0.15.1"}, "auto-round 0.15.1"),
    ],
)
def test_the_tool_is_named_where_it_named_itself(
    tmp_path: Path, said: dict[str, Any], tool: str | None
) -> None:
    parts, config = gptq()
    made = checkpoint(tmp_path, around(parts), quantization_config={**config, **said})
    assert inspect(made)["quantization"]["tool"] == tool


def test_the_command_shows_it(tmp_path: Path) -> None:
    parts, config = gptq()
    checkpoint(tmp_path / "made", around(parts), quantization_config=config)
    answer = called("inspect", "made", cwd=tmp_path)
    assert answer.code == 0, answer.stderr
    said = dict(line.split("  ", 1) for line in answer.stdout.splitlines() if "  " in line)
    assert said["quantized"].strip() == "gptq, 4 bits, groups of 32"
    assert said["packed"].strip() == (
        "1 of 2 matrices, 8,192 weights, 5.1250 bits each with scales and zero points"
    )
    assert said["not packed"].strip() == "model.embed_tokens.weight"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"quant_method": "hqq"}, "by the method 'hqq', which qpipe does not read"),
        (
            {"quant_method": "compressed-tensors", "format": "marlin-24"},
            "by compressed-tensors in the format marlin-24, which qpipe does not read",
        ),
    ],
)
def test_what_is_not_read_is_shown_as_it_is_stored(
    tmp_path: Path, config: dict[str, Any], words: str
) -> None:
    checkpoint(tmp_path / "made", plain(), quantization_config=config)
    document = json.loads(called("inspect", "made", "--json", cwd=tmp_path).stdout)
    assert document["quantization"]["method"] == config["quant_method"]
    assert f"{document['quantization']['unread']}, which qpipe does not read" == words
    assert document["bits_per_weight"] is None
    answer = called("inspect", "made", cwd=tmp_path)
    assert (answer.code, words in answer.stdout) == (0, True)
    assert len(document["tensors"]) == 3


def test_old_settings_are_not_taken_for_plain_weights(tmp_path: Path) -> None:
    """Once such a checkpoint was called BF16, at 20 bits a weight."""
    parts, config = gptq()
    checkpoint(tmp_path, around(parts))
    (tmp_path / "quantize_config.json").write_text(json.dumps(config))
    found = inspect(tmp_path)
    assert found["quantization"]["bits_per_weight"] == 4 + 16 / 32 + 4 / 32 + 32 / 64
    assert found["file_type"] == "GPTQ-4bit-g32-actorder"
