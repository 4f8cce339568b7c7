"""Stop texts, parameters and BOS, of GGUF files as gguf-py writes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFWriter

from qpipe.export.ollama.go_prompt import prompt
from qpipe.export.ollama.settings import OllamaSettings, of_file
from qpipe.gguf.reader import read
from tests.export.ollama.families import FAMILIES

_NORMAL, _CONTROL = 1, 3
_ASKED = [{"role": "user", "content": "hi"}]


def settings(
    folder: Path,
    template: str | None,
    control: list[str],
    *,
    architecture: str = "llama",
    generation: Mapping[str, Any] | None = None,
    **fields: Any,
) -> OllamaSettings:
    """Those of a file whose tokens are <bos>, <eos>, the control tokens, and a word; ``fields`` are
    of the tokenizer."""
    writer = GGUFWriter(folder / "a.gguf", architecture)
    tokens = ["<bos>", "<eos>", *control, "word"]
    writer.add_tokenizer_model(fields.pop("model", "llama"))
    writer.add_token_list(tokens)
    writer.add_token_types([_CONTROL] * (len(tokens) - 1) + [_NORMAL])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_context_length(4096)
    if template is not None:
        writer.add_chat_template(template)
    for name, value in fields.items():
        getattr(writer, f"add_{name}")(value)
    writer.add_tensor("token_embd.weight", np.zeros((len(tokens), 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return of_file(read(folder / "a.gguf"), generation or {})


@pytest.mark.parametrize(
    ("family", "control", "stops"),
    [
        ("chatml", ["<|im_start|>", "<|im_end|>"], ["<eos>", "<|im_end|>", "<|im_start|>"]),
        ("chatml", [], ["<eos>", "<|im_end|>"]),
        ("llama 2", [], ["<eos>", "[INST]"]),
        ("mistral, third", ["[INST]", "[/INST]"], ["<eos>", "[INST]"]),
        ("gemma", ["<start_of_turn>", "<end_of_turn>"],
         ["<eos>", "<end_of_turn>", "<start_of_turn>"]),
        ("vicuna", [], ["<eos>", "USER:"]),
        ("alpaca", ["<pad>"], ["<eos>", "### Instruction:"]),
    ],
)  # fmt: skip
def test_what_ends_an_answer(
    tmp_path: Path, family: str, control: list[str], stops: list[str]
) -> None:
    assert settings(tmp_path, FAMILIES[family], control).stops == stops


def test_tokens_that_end_turns_by_their_ids(tmp_path: Path) -> None:
    control = ["<|end|>", "<|call|>"]
    own = settings(
        tmp_path, FAMILIES["phi"], control, generation={"eos_token_id": [1, 3]}, eot_token_id=2
    )
    assert own.stops == ["<eos>", "<|end|>", "<|call|>", "<|user|>"]
    (tmp_path / "harmony").mkdir()
    # Parts of one answer end with <|end|>, which is no end of it.
    parts = settings(tmp_path / "harmony", FAMILIES["phi"], control, architecture="gpt-oss")
    assert parts.stops == ["<eos>"]


@pytest.mark.parametrize(
    ("model", "fields", "begins"),
    [
        ("llama", {}, "[INST]"),  # llama.cpp adds BOS to SentencePiece's texts
        ("llama", {"add_bos_token": False}, "<bos>[INST]"),
        ("gpt2", {}, "<bos>[INST]"),
        ("gpt2", {"add_bos_token": True}, "[INST]"),
        ("gpt2", {"tokenizer_pre": "llama-bpe"}, "[INST]"),
    ],
)
def test_bos_once(tmp_path: Path, model: str, fields: dict[str, Any], begins: str) -> None:
    own = settings(tmp_path, FAMILIES["llama 2"], [], model=model, **fields)
    assert own.chat is not None
    assert own.chat.text is not None
    assert prompt(own.chat.text, _ASKED) == f"{begins} hi [/INST]"


def test_parameters(tmp_path: Path) -> None:
    generation = {"temperature": 0.6, "top_k": 0, "top_p": float("nan"), "min_p": 0.05,
                  "repetition_penalty": "1.1", "do_sample": True, "max_length": 20}  # fmt: skip
    own = settings(tmp_path, None, [], generation=generation)
    assert own.chat is None
    assert own.params() == {"temperature": 0.6, "top_k": 0, "min_p": 0.05}
    assert own.context == 4096
