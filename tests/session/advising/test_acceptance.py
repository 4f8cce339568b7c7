"""What is advised, the plan takes: engines are asked about the architecture and the shapes."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest

import qpipe
from qpipe import sizes
from qpipe.advice.answer import Advice
from qpipe.advice.candidates import overrides
from qpipe.errors import EngineMissingError
from qpipe.sizes import tensors
from qpipe.sizes.source import ModelSource
from tests.advice.machines import BLACKWELL, formats, of

TEXT = Path(__file__).parents[2] / "data" / "texts" / "tinystories_train_head_ascii.txt"
# Classes that engines refuse, rows that groups do not fit, a head that is tied.
MODELS = (
    "google/gemma-3-1b-it",
    "microsoft/Phi-3-mini-4k-instruct",
)


def checkpoint(folder: Path, name: str) -> Path:
    """A folder with a model's config.json, of two layers and few tokens, for a plan hashes what is
    there; and the header of its weights before a hole."""
    fields = {**(sizes.shapes(name) or {}), "num_hidden_layers": 2, "vocab_size": 1024}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(fields))
    header: dict[str, Any] = {}
    end = 0
    for each, shape in tensors.of(ModelSource.of(fields)).shapes.items():
        begin, end = end, end + 2 * math.prod(shape)
        header[each] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    return folder


def refusals(folder: Path, words: list[str], cwd: Path) -> list[str]:
    """What a plan says would fail, but for what this machine lacks."""
    local = [word for word in words if not word.startswith("calibration=")]
    text = [f"calibration.text={TEXT}"] if len(local) < len(words) else []
    session = qpipe.load(
        "local",
        f"model.source={folder}",
        "evaluate=none",
        *local,
        *text,
        store=cwd / "store",
        runs=cwd / "runs",
    )
    errors = session.plan().errors
    return [str(each) for each in errors if not isinstance(each, EngineMissingError)]


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_what_is_advised_can_be_planned(name: str, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "model", name)
    answer = of(BLACKWELL, model=str(folder))
    first = {row.candidate.family: row.candidate for row in reversed(answer.rows)}
    problems = {
        method: refusals(folder, overrides(first[method]), tmp_path)
        for method in sorted(first)
        if method not in ("gguf", "none")
    }
    assert {each: why for each, why in problems.items() if why} == {}


def reasons(answer: Advice, name: str) -> list[str]:
    return [each.why for each in answer.ranking.left_out if each.format == name]


def test_an_engine_that_saves_it_wrongly_is_not_advised() -> None:
    answer = of(BLACKWELL, model="microsoft/Phi-3-mini-4k-instruct")
    assert "GPTQ-4bit-g128" not in formats(answer)
    assert any(
        "GPTQModel saves its gate_up_proj" in why for why in reasons(answer, "GPTQ-4bit-g128")
    )


def test_a_runtime_that_does_not_know_it_is_not_advised() -> None:
    answer = of(BLACKWELL, model="google/gemma-3-1b-it")
    assert not [name for name in formats(answer) if name.startswith("EXL2")]
    assert "Gemma3ForCausalLM" in reasons(answer, "EXL2-4.0bpw")[0]
