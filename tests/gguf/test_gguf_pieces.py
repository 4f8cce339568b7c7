"""SentencePiece vocabularies out of tokenizer.json alone, as transformers 5 saves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from qpipe import errors
from qpipe.gguf import vocab
from qpipe.gguf.convert import convert, prepare
from qpipe.gguf.values import decoded
from qpipe.llamacpp.model import Model
from tests.gguf import samples
from tests.gguf.arch_checkpoints import write
from tests.gguf.test_gguf_arch import CASES

TINY = samples.MODELS["tinystories-d256"]

# What transformers 5.17.0's save_pretrained leaves of its three classes for such tokenizers.
REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
METASPACE = {
    "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": False,
}  # fmt: skip
SPLIT = {
    "type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False,
}  # fmt: skip
SAVED: dict[str, dict[str, Any]] = {
    "LlamaTokenizer": {"normalizer": None, "pre_tokenizer": METASPACE},
    "GemmaTokenizer": {"normalizer": REPLACE, "pre_tokenizer": SPLIT},
    "TokenizersBackend": {},  # as it was: Prepend and Replace
}
TEXTS = (
    "Once upon a time, there was a girl.", "  two spaces", "a\n\n\tb = [1, 22, 333]  # 4444",
    "日本語 Привет 🙂👍🏽 naïve café", "", " ", "I'm WE'LL don't", "<s>x</s> <unk>",
)  # fmt: skip


def saved(folder: Path, kind: str, **tokenizer: Any) -> Path:
    """``folder`` as transformers 5 saves it."""
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text()) | SAVED[kind] | tokenizer
    if kind == "LlamaTokenizer":
        content["model"]["unk_token"] = None
    path.unlink()
    path.write_text(json.dumps(content))
    config = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").unlink()
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": kind} | config))
    (folder / "tokenizer.model").unlink()
    return folder


@pytest.mark.parametrize("kind", SAVED)
def test_pieces_scores_and_types_are_those_of_tokenizer_model(kind: str, tmp_path: Path) -> None:
    folder = saved(samples.copy_model("tinystories-d256", tmp_path / "m"), kind)
    wanted, found = (decoded(vocab.metadata(f, 1030)) for f in (TINY, folder))
    assert found["tokenizer.ggml.add_space_prefix"] is (kind != "GemmaTokenizer")
    for key in ("model", "pre", "tokens", "scores", "token_type", "bos_token_id", "add_bos_token"):
        assert found[f"tokenizer.ggml.{key}"] == wanted[f"tokenizer.ggml.{key}"], key


@pytest.mark.parametrize("kind", SAVED)
@pytest.mark.parametrize("name", ["llama", "mistral", "phi", "qwen3", "gemma2", "gemma3"])
def test_llama_cpp_splits_as_tokenizer_json_says(name: str, kind: str, tmp_path: Path) -> None:
    fields, shapes = CASES[name]
    folder = saved(write(tmp_path / name, fields, shapes), kind)
    convert(folder, tmp_path / "m.gguf", outtype="F16")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    with Model(tmp_path / "m.gguf", vocab_only=True) as model:
        for text in TEXTS:
            if kind == "LlamaTokenizer":  # Metaspace adds no space where there is one
                text = text.strip().replace("> <", "><")
            found = model.vocab.tokenize(text, add_special=True, parse_special=True).tolist()
            assert found == tokenizer.encode(text).ids, text


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(llama.cpp's, tokenizers') vocabulary of one such folder."""
    folder = samples.copy_model("tinystories-d256", tmp_path_factory.mktemp("b") / "m")
    saved(folder, "TokenizersBackend")
    convert(folder, folder / "m.gguf", outtype="F16")
    with Model(folder / "m.gguf", vocab_only=True) as model:
        yield model.vocab, Tokenizer.from_file(str(folder / "tokenizer.json"))


@given(text=st.text(st.sampled_from("aehistndo  .,\n0→é🙂"), max_size=40) | st.text(max_size=40))
def test_any_text_is_split_alike(both: Any, text: str) -> None:
    ours, theirs = both
    if "\0" not in text:  # llama.cpp's tokenizer ends at one
        assert ours.tokenize(text).tolist() == theirs.encode(text, add_special_tokens=False).ids


def test_pieces_that_are_not_numbered_by_score(tmp_path: Path) -> None:
    """Two pieces with each other's numbers: the merges' order counts."""
    content = json.loads((TINY / "tokenizer.json").read_text())
    numbers = content["model"]["vocab"]
    first, later = sorted(
        (t for t in numbers if len(t) > 2 and t[0] != "<"), key=numbers.__getitem__
    )[:401:400]
    numbers[first], numbers[later] = numbers[later], numbers[first]
    folder = samples.copy_model("tinystories-d256", tmp_path / "m")
    saved(folder, "TokenizersBackend", model=content["model"])
    convert(folder, tmp_path / "m.gguf", outtype="F16")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    text = (samples.ROOT / "qpipe/data/texts/tinystories_lower_heldout.txt").read_text()[:20000]
    with Model(tmp_path / "m.gguf", vocab_only=True) as model:
        assert model.vocab.tokenize(text).tolist() == tokenizer.encode(text).ids[1:]


def test_more_tokens_than_pieces(tmp_path: Path) -> None:
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    content = json.loads((TINY / "tokenizer.json").read_text())
    texts = {1024: ("<|im_start|>", False), 1025: ("foo▁bar", False), 1099: ("<mask>", True)}
    more = [plain | {"id": i, "content": t, "special": s} for i, (t, s) in texts.items()]
    folder = samples.copy_model("tinystories-d256", tmp_path / "m")
    saved(folder, "TokenizersBackend", added_tokens=content["added_tokens"] + more)
    found = decoded(vocab.metadata(folder, 1027))
    assert found["tokenizer.ggml.tokens"][1024:] == ["<|im_start|>", "foo bar", "[PAD1026]"]  # type: ignore[index]
    assert found["tokenizer.ggml.token_type"][1024:] == [3, 4, 5]  # type: ignore[index]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"normalizer": {"type": "NFKC"}}, r"step 'NFKC' .* copy tokenizer.model of the model"),
        ({"pre_tokenizer": METASPACE | {"split": True}}, r"step 'Metaspace' .*split: True"),
        ({"pre_tokenizer": {"type": "Digits", "individual_digits": True}}, "step 'Digits'"),
    ],
)
def test_what_sentencepiece_cannot_do(changes: Any, message: str, tmp_path: Path) -> None:
    folder = samples.copy_model("tinystories-d256", tmp_path / "m")
    saved(folder, "TokenizersBackend", **changes)
    with pytest.raises(errors.CheckpointError, match=message):
        prepare(folder, outtype="F16")


def test_pieces_that_only_merges_can_tell_of(tmp_path: Path) -> None:
    content = json.loads((TINY / "tokenizer.json").read_text())
    dropped = next(m for m in content["model"]["merges"] if len("".join(m)) == 3)
    content["model"]["merges"].remove(dropped)
    folder = samples.copy_model("tinystories-d256", tmp_path / "m")
    saved(folder, "TokenizersBackend", model=content["model"])
    text = "".join(dropped)
    with pytest.raises(errors.CheckpointError, match=rf"no merge makes '{text}' of"):
        prepare(folder, outtype="F16")
