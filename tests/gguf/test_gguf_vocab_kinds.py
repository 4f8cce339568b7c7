"""Tokenizers of the kinds that models of 2026 bring, as llama.cpp and tokenizers split texts, and
as llama.cpp's converter writes them."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from qpipe import errors
from qpipe.gguf import pydist, values, vocab
from qpipe.gguf.pydist import streaming
from qpipe.gguf.vocab import text_bpe
from tests.gguf.test_gguf_pretokenizers import (
    RULES,
    TEXT,
    loaded,
    random_texts,
    same_in_both,
    steps,
)
from tests.gguf.test_gguf_vocab import bpe_tokenizer, write

ROWS = 4000
BYTE_LEVEL = ("add_prefix_space", "trim_offsets", "use_regex")
GEMMA4 = "Gemma4ForConditionalGeneration"
installed = pytest.mark.skipif(pydist.problem() is not None, reason=str(pydist.problem()))


def added(first: int, **tokens: bool) -> list[dict[str, Any]]:
    """Entries of added_tokens, special or not."""
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return [
        plain | {"id": first + i, "content": text, "special": special}
        for i, (text, special) in enumerate(tokens.items())
    ]


@pytest.fixture(scope="module")
def gemma4() -> dict[str, Any]:
    """tokenizer.json built as Gemma 4's: BPE on text, byte tokens, added tokens among others."""
    first = ["<pad>", "<eos>", "<bos>", "<unk>", "<|turn>", "<turn|>", "<table>", "\n\n", "<mask>"]
    first += [f"<0x{n:02X}>" for n in range(256)]
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback()])
    trainer = trainers.BpeTrainer(
        vocab_size=ROWS - 50, special_tokens=first, limit_alphabet=300, show_progress=False
    )
    lines = [line for text in [TEXT, *random_texts(150)] for line in text.split("\n")]
    tokenizer.train_from_iterator(lines * 2, trainer)
    content: dict[str, Any] = json.loads(tokenizer.to_str())
    special = ("<pad>", "<eos>", "<bos>", "<unk>", "<|turn>", "<turn|>")
    named = {text: text in special for text in (*special, "<table>", "\n\n", "<mask>")}
    content["added_tokens"] = added(0, **named) + added(
        len(content["model"]["vocab"]), **{"<|tool_call>": True, "<late>": False}
    )
    return content


def gemma4_folder(folder: Path, content: dict[str, Any]) -> Path:
    tokens = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"}
    tokens |= {"unk_token": "<unk>", "eot_token": "<turn|>", "sot_token": "<|turn>"}
    return write(folder, tokenizer=content, tokenizer_config=tokens)


def test_gemma4_is_split_alike(gemma4: dict[str, Any], tmp_path: Path) -> None:
    """With its added tokens in the text, which llama.cpp's converter makes plain ones."""
    folder = gemma4_folder(tmp_path, gemma4)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    texts = [TEXT, *random_texts(150)]
    texts += [f"<table>a {text}\n\n<|turn>{text}<late><mask>" for text in texts]
    metadata = vocab.metadata(folder, ROWS, model_class=GEMMA4)
    with loaded(metadata, tmp_path / "m.gguf") as model:
        assert model.vocab.add_bos
        for text in texts:
            found = model.vocab.tokenize(text, add_special=False, parse_special=True).tolist()
            assert found == tokenizer.encode(text, add_special_tokens=False).ids, text


def test_gemma4_by_kind(gemma4: dict[str, Any], tmp_path: Path) -> None:
    found = values.decoded(
        vocab.metadata(gemma4_folder(tmp_path, gemma4), ROWS, model_class=GEMMA4)
    )
    tokens, kinds = found["tokenizer.ggml.tokens"], found["tokenizer.ggml.token_type"]
    assert isinstance(tokens, list) and isinstance(kinds, list)
    by_text = dict(zip(tokens, kinds, strict=True))
    assert [by_text[t] for t in ("<bos>", "<turn|>", "<|tool_call>", "<table>", "<late>")] == [
        *(3, 3, 4, 4, 4)
    ]
    assert (by_text["<0x41>"], by_text["e"], by_text[f"[PAD{ROWS - 1}]"]) == (6, 1, 5)
    assert found["tokenizer.ggml.model"] == "gemma4" and "tokenizer.ggml.pre" not in found
    gemma4 = gemma4 | {"added_tokens": gemma4["added_tokens"] + added(ROWS, **{"<image>": False})}
    more = vocab.metadata(gemma4_folder(tmp_path, gemma4), ROWS, model_class=GEMMA4)
    assert values.decoded(more) == found, "a token without a row"
    prefix = gemma4 | {"normalizer": {"type": "Prepend", "prepend": "▁"}}
    with pytest.raises(errors.CheckpointError, match="puts a space before a text"):
        text_bpe.metadata(gemma4_folder(tmp_path, prefix), prefix, ROWS)
    model = gemma4["model"]
    across = model | {"vocab": model["vocab"] | {"e\n": ROWS - 1}}
    with pytest.raises(
        errors.CheckpointError, match=r"token 'e\\n' reaches over the end of a line"
    ):
        text_bpe.metadata(tmp_path, gemma4 | {"model": across}, ROWS)


@pytest.fixture(scope="module")
def trained() -> dict[str, Any]:
    """A byte-level BPE of tekken's rule, whose ids are ranks."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    rule = Regex(RULES["tekken"][0][0])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(rule, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=1500, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([TEXT] * 2 + random_texts(100), trainer)
    content: dict[str, Any] = json.loads(tokenizer.to_str())
    return content


def tekken(trained: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """tekken.json with the words of ``trained``: its bytes first, then by rank."""
    decoder = Tokenizer(models.BPE({}, []))
    decoder.decoder = decoders.ByteLevel()
    letters = {letter: n for n, letter in enumerate(byte_letters())}
    words = [bytes(letters[c] for c in text) for text in trained["model"]["vocab"]]
    words = sorted(words, key=lambda word: (len(word) > 1, word if len(word) == 1 else b""))
    entries = [
        {"rank": rank, "token_bytes": base64.b64encode(word).decode(), "token_str": None}
        for rank, word in enumerate(words)
    ]
    config = {
        "pattern": RULES["tekken"][0][0],
        "default_vocab_size": len(entries) + 30,
        "default_num_special_tokens": 30,
        "version": "v7",
    }
    return {"config": config, "vocab": entries} | changes


def byte_letters() -> list[str]:
    return list(bpe_tokenizer()["model"]["vocab"])[:256]


def test_tekken_is_split_alike(trained: dict[str, Any], tmp_path: Path) -> None:
    content = tekken(trained)
    write(tmp_path, tekken=content)
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    metadata = vocab.metadata(tmp_path, 2000)
    found = values.decoded(metadata)
    tokens = found["tokenizer.ggml.tokens"]
    assert isinstance(tokens, list)
    assert tokens[:4] == ["<unk>", "<s>", "</s>", "[INST]"] and tokens[29] == "<SPECIAL_29>"
    ids = ("bos", "eos", "unknown", "padding")
    assert [found[f"tokenizer.ggml.{kind}_token_id"] for kind in ids] == [1, 2, 0, 11]
    assert found["tokenizer.chat_template"] == "{{ messages }}"
    by_text = {text: i for i, text in enumerate(tokens)}
    ours = Tokenizer.from_str(json.dumps(trained))
    with loaded(metadata, tmp_path / "m.gguf") as model:
        assert model.vocab.add_bos
        for text in (same_in_both("tekken", text) for text in [TEXT, *random_texts(100)]):
            wanted = [by_text[token] for token in ours.encode(text).tokens]
            assert model.vocab.tokenize(text, add_special=False).tolist() == wanted, text


def test_tekken_names_its_own_special_tokens(trained: dict[str, Any], tmp_path: Path) -> None:
    special = [{"rank": i, "token_str": t} for i, t in enumerate(("<s>", "</s>", "<unk>"))]
    write(tmp_path, tekken=tekken(trained, special_tokens=special))
    found = values.decoded(vocab.metadata(tmp_path, 2000))
    assert found["tokenizer.ggml.bos_token_id"] == 0
    assert found["tokenizer.ggml.padding_token_id"] == 1, "the end of a text, where none is named"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["config"].update(pattern=r"\w+"), r"'config.pattern' is '\\\\w\+'"),
        (lambda c: c["config"].update(default_vocab_size=2001), "has 2001 tokens, but .* is 2000"),
        (lambda c: c["vocab"][300].update(token_bytes="?"), "no base64"),
        (lambda c: c["vocab"].pop(5), "does not hold all bytes"),
        (lambda c: c["vocab"][300].update(token_bytes="AAAB"), "no two tokens make"),
        (lambda c: c.pop("config"), "not built as expected"),
    ],
)
def test_a_tekken_file_that_is_wrong(
    change: Any, message: str, trained: dict[str, Any], tmp_path: Path
) -> None:
    content = tekken(trained)
    change(content)
    write(tmp_path, tekken=content)
    with pytest.raises(errors.CheckpointError, match=message):
        vocab.metadata(tmp_path, 2000)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"normalizer": {"type": "NFKC"}}, "normalizer has the step 'NFKC'"),
        (
            {
                "normalizer": {
                    "type": "Sequence",
                    "normalizers": [{"type": "NFC"}, {"type": "Strip"}],
                }
            },
            "step 'Strip'",
        ),
        (
            {"model": bpe_tokenizer()["model"] | {"end_of_word_suffix": "</w>"}},
            r"model.end_of_word_suffix is '</w>'",
        ),
    ],
)
def test_what_llama_cpp_does_not_do(changes: Any, message: str, tmp_path: Path) -> None:
    write(tmp_path, tokenizer=bpe_tokenizer() | changes)
    with pytest.raises(errors.CheckpointError, match=message):
        vocab.metadata(tmp_path, 300)


def test_a_table_of_tiktoken(tmp_path: Path) -> None:
    """tokenizer.model of Llama 3's own build."""
    (tmp_path / "tokenizer.model").write_bytes(b"IQ== 0\nIg== 1\n")
    with pytest.raises(errors.CheckpointError, match=r"table of tiktoken's.*add tokenizer.json"):
        vocab.metadata(tmp_path, 300)
    write(tmp_path, tokenizer=bpe_tokenizer())
    assert values.decode(vocab.metadata(tmp_path, 300)["tokenizer.ggml.model"]) == "gpt2"


def test_a_rule_that_llama_cpp_only_nearly_has(tmp_path: Path) -> None:
    rules, model = RULES["gpt-4o"]
    content = bpe_tokenizer() | {"pre_tokenizer": steps(rules)}
    write(tmp_path, tokenizer=content | {"model": content["model"] | model})
    (note,) = vocab.notes(tmp_path, vocab.metadata(tmp_path, 300))
    assert "gpt-4o leaves combining marks out of words" in note


TURNS = {"<|user|>": True, "<|observation|>": True, "[gMASK]": True, "<|plain|>": False}
# model class: the rule that its tokenizers have, files beside tokenizer.json
CLASSES: dict[str, tuple[str, dict[str, Any]]] = {
    "Qwen3_5ForConditionalGeneration": ("qwen35", {}),
    "GptOssForCausalLM": ("gpt-4o", {}),
    "Lfm2ForCausalLM": ("llama-bpe", {}),
    "Glm4ForCausalLM": ("dbrx", {}),
    "Glm4MoeForCausalLM": ("dbrx", {}),
    "DeepseekV3ForCausalLM": ("deepseek-v3", {}),
    "Exaone4ForCausalLM": ("gpt-2", {}),
    "SmolLM3ForCausalLM": ("llama-bpe", {}),
    "SeedOssForCausalLM": ("seed-coder", {}),
    "Olmo2ForCausalLM": ("dbrx", {}),
    "HunYuanDenseV1ForCausalLM": (
        "deepseek-v3",
        {"config": {"eod_token_id": 2}, "generation_config": {"eos_token_id": [7, 8]}},
    ),
    "Llama4ForConditionalGeneration": ("gpt-4o", {}),
}


def class_folder(folder: Path, model_class: str) -> Path:
    """A folder with a byte-level tokenizer of a class's rule, and its config.json."""
    rule, files = CLASSES[model_class]
    rules, model = RULES[rule]
    content = bpe_tokenizer()
    content |= {"pre_tokenizer": steps(rules), "model": content["model"] | model}
    content["added_tokens"] = added(258, **{"<|endoftext|>": True}, **TURNS)
    content["post_processor"] = None
    content["decoder"] = {"type": "ByteLevel"} | dict.fromkeys(BYTE_LEVEL, True)
    templates = [{"name": "default", "template": "a"}, {"name": "tools", "template": "b"}]
    tokens = {"eos_token": "<|endoftext|>", "chat_template": templates}
    config = {"architectures": [model_class], "model_type": "any", "vocab_size": 270}
    folder.mkdir()
    write(folder, tokenizer=content, tokenizer_config=tokens | {"tokenizer_class": "Any"})
    return write(folder, **files | {"config": config | files.get("config", {})})


@pytest.fixture(scope="module")
def from_converter(
    tmp_path_factory: pytest.TempPathFactory, gemma4: dict[str, Any]
) -> Iterator[dict[str, tuple[Path, dict[str, Any]]]]:
    """For each class a folder, and what the converter's ``set_vocab`` makes of it."""
    root = tmp_path_factory.mktemp("classes")
    folders = {name: class_folder(root / name, name) for name in CLASSES}
    folders[GEMMA4] = gemma4_folder(root, gemma4)
    write(root, config={"architectures": [GEMMA4], "model_type": "gemma", "vocab_size": ROWS})
    jobs = [
        {
            "folder": str(folder),
            "model_class": name,
            "pre": values.decode(vocab.metadata(folder, ROWS, model_class=name).get(
                "tokenizer.ggml.pre", values.string("")
            )),
        }
        for name, folder in folders.items()
    ]  # fmt: skip
    (root / "jobs.json").write_text(json.dumps(jobs))
    script = Path(__file__).with_name("converter_vocab.py")
    command: list[str | Path] = [
        sys.executable,
        script,
        streaming.script(),
        root / "jobs.json",
        root / "out.json",
    ]
    subprocess.run(command, env=pydist.environment(root), check=True, capture_output=True)
    made = json.loads((root / "out.json").read_text())
    yield {name: (folders[name], fields) for name, fields in zip(folders, made, strict=True)}


@installed
@pytest.mark.slow
@pytest.mark.parametrize("name", [*CLASSES, GEMMA4])
def test_key_for_key_as_the_converter(
    name: str, from_converter: dict[str, tuple[Path, dict[str, Any]]]
) -> None:
    """But for added tokens of Gemma 4, and for what is said where the files say nothing."""
    folder, wanted = from_converter[name]
    assert "error" not in wanted, wanted
    rows = len(wanted["tokenizer.ggml.tokens"])
    found = values.decoded(vocab.metadata(folder, rows, model_class=name))
    if name == GEMMA4:
        kinds = (fields.pop("tokenizer.ggml.token_type") for fields in (found, wanted))
        content = json.loads((folder / "tokenizer.json").read_text())
        own = {entry["id"] for entry in content["added_tokens"] if not entry["special"]}
        differ = {i for i, (a, b) in enumerate(zip(*kinds, strict=True)) if a != b}
        assert differ <= own
    if "tokenizer.ggml.add_bos_token" not in wanted:
        found.pop("tokenizer.ggml.add_bos_token", None)
    assert found == wanted
    assert list(found) == list(wanted)
