"""Whatever class transformers reads a tokenizer with, its ids are those of tokenizer.json."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import qpipe
from qpipe.errors import CheckpointError
from qpipe.hf.tokenizer import Tokenizer, read_tokenizer
from tests.tokenizers import DATA, STORIES, TEXT, byte_level

LINE = "Once  upon a time, 12345 girls\n\n said: 'été' 日本 🙂 <|turn|>hi<|end|>"


def of_file(folder: Path, text: str, *, special: bool) -> list[int]:
    from tokenizers import Tokenizer as File

    file: Any = File.from_file(str(folder / "tokenizer.json"))
    file.encode_special_tokens = not special
    ids: list[int] = file.encode(text, add_special_tokens=False).ids
    return ids


@pytest.mark.parametrize("name", ["LlamaTokenizerFast", "LlamaTokenizer", "Qwen2Tokenizer"])
def test_a_byte_level_tokenizer_of_any_name(tmp_path: Path, name: str) -> None:
    folder = byte_level(tmp_path / "m", tokenizer_class=name, legacy=True)
    read = read_tokenizer(folder)
    assert read.tokenizer(LINE, add_special_tokens=False)["input_ids"] == of_file(
        folder, LINE, special=True
    )
    assert read.tokenizer("a")["input_ids"][0] == 0
    if name.startswith("Llama"):
        assert "those of tokenizer.json; transformers' LlamaTokenizer reads it otherwise" in str(
            read.note
        )
    tokenizer = Tokenizer(folder)
    assert tokenizer.tokenize(LINE).tolist() == of_file(folder, LINE, special=False)
    assert tokenizer.tokenize(TEXT[:3000]).tolist() == of_file(folder, TEXT[:3000], special=False)
    assert (tokenizer.bos, tokenizer.prefix) == (0, 0)


def test_what_is_read_right_is_left_as_it_is(tmp_path: Path) -> None:
    folder = byte_level(tmp_path / "m", tokenizer_class="PreTrainedTokenizerFast")
    read = read_tokenizer(folder)
    assert read.note is None
    assert read.tokenizer(LINE, add_special_tokens=False)["input_ids"] == of_file(
        folder, LINE, special=True
    )


@pytest.mark.parametrize("folder", sorted((DATA / "models").iterdir()), ids=lambda path: path.name)
def test_sentencepiece_in_any_architecture(folder: Path) -> None:
    """transformers takes qwen2-r's for a byte-level one, for its model is a Qwen2; and it puts no
    space before a text that begins with one."""
    tokenizer = read_tokenizer(folder).tokenizer
    for text in (TEXT[:500], "  two spaces", "<s> in </s> it"):
        assert tokenizer(text, add_special_tokens=False)["input_ids"] == of_file(
            folder, text, special=True
        )


@pytest.mark.parametrize(
    ("config", "around"),
    [
        ({}, ([0], [])),
        ({"add_bos_token": False}, ([], [])),
        ({"add_eos_token": True}, ([0], [1])),
        ({"add_bos_token": True, "add_eos_token": True}, ([0], [1])),
    ],
)
def test_what_stands_around_a_text(
    tmp_path: Path, config: dict[str, bool], around: tuple[list[int], list[int]]
) -> None:
    """tokenizer.json's BOS stays where tokenizer_config.json speaks of EOS alone."""
    folder = byte_level(tmp_path / "m", tokenizer_class="LlamaTokenizerFast", **config)
    before, after = around
    inner = of_file(folder, "a cat", special=True)
    assert read_tokenizer(folder).tokenizer("a cat")["input_ids"] == [*before, *inner, *after]


def test_names_that_only_a_class_or_another_file_has(tmp_path: Path) -> None:
    folder = byte_level(
        tmp_path / "m", tokenizer_class="LlamaTokenizer", add_bos_token=True, bos_token=None
    )
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer | {"post_processor": None}))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    del config["bos_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "special_tokens_map.json").write_text(json.dumps({"bos_token": "<|begin|>"}))
    read = Tokenizer(folder)
    assert (read.bos, read.prefix) == (0, 0)
    assert read.tokenize("a  cat").tolist() == of_file(folder, "a  cat", special=False)

    # LlamaTokenizer's own BOS, where nobody names one.
    (folder / "special_tokens_map.json").unlink()
    as_llama = (folder / "tokenizer.json").read_text().replace("<|begin|>", "<s>")
    (folder / "tokenizer.json").write_text(as_llama)
    assert (Tokenizer(folder).bos, Tokenizer(folder).prefix) == (0, 0)


def test_without_a_tokenizer_json_there_is_nothing_to_compare(tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "m"
    shutil.copytree(STORIES, folder)
    (folder / "tokenizer.json").unlink()
    assert read_tokenizer(folder).note is None


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    folder = byte_level(tmp_path / "m", tokenizer_class="PreTrainedTokenizerFast")
    for name, content in (
        ("tokenizer.json", "{"),
        ("tokenizer.json", json.dumps({"model": []})),
        ("tokenizer_config.json", "["),
    ):
        whole = (folder / name).read_text()
        (folder / name).write_text(content)
        with pytest.raises(CheckpointError, match="m: transformers cannot load its tokenizer"):
            read_tokenizer(folder)
        (folder / name).write_text(whole)


def test_a_template_that_is_no_utf8_is_named(tmp_path: Path) -> None:
    folder = byte_level(tmp_path / "m", tokenizer_class="PreTrainedTokenizerFast")
    (folder / "chat_template.jinja").write_bytes(b"{{ 'caf\xe9' }}")
    with pytest.raises(CheckpointError, match=r"chat_template\.jinja is no UTF-8 \(at byte 7\)"):
        read_tokenizer(folder)


def test_there_is_one_place_where_tokenizers_are_read() -> None:
    """And one where HFLM is given transformers' reading of a GGUF file, for stop texts alone."""
    package = Path(qpipe.__file__).parent
    loads = re.compile(r"import .*\b(AutoTokenizer|PreTrainedTokenizerFast)\b")
    found = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if loads.search(path.read_text())
    }
    told = "export/card/usage.py"  # lines for readers of a model card
    assert found == {"hf/tokenizer.py", "evaluators/harness/checkpoints.py", told}
