"""Splitting rules of byte-level BPE tokenizers, by llama.cpp's names and by its splitting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from qpipe import errors
from qpipe.engines.convert import ConvertParams
from qpipe.gguf import convert, stream, values, vocab
from qpipe.gguf.vocab import pretokenizers
from qpipe.llamacpp.model import Model
from tests.gguf import samples
from tests.gguf.test_gguf_vocab import QWEN2_PATTERN, bpe_tokenizer

TEXT = (
    "I'm sure YOU'LL don't.  It's 12345 or 3.14!\n\n\tdef f(x):\r\n        return x**2 # 100%\n"
    "naïve café Ünder HelloWorld camelCaseText ABCdef Привет мир, 你好世界 カタカナ ひらがな "
    "한국어 हिन्दी ภาษาไทย العربية e\u0301 ²½ ⅷ 🙂👍🏽 <tag/> a/b//c \\ ''' \"x\"  \n \n  end   "
)
CL100K = QWEN2_PATTERN.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
START, END = r"[^\r\n\p{L}\p{N}]?", r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
DEEPSEEK = (
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"
)

# Rules as tokenizer.json files of these models have them.
RULES: dict[str, tuple[list[str], dict[str, Any]]] = {
    "qwen2": ([QWEN2_PATTERN], {}),
    "llama-bpe": ([CL100K], {"ignore_merges": True}),
    "dbrx": ([CL100K], {}),
    "gpt-4o": (
        [
            f"{START}{UPPER}*{LOWER}+{CONTRACTION}|{START}{UPPER}+{LOWER}*{CONTRACTION}"
            rf"|\p{{N}}{{1,3}}{END}"
        ],
        {},
    ),
    "tekken": ([rf"{START}{UPPER}*{LOWER}+|{START}{UPPER}+{LOWER}*|\p{{N}}{END}"], {}),
    "deepseek-v3": ([r"\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+", DEEPSEEK], {}),
    "deepseek-coder": (
        ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-\ud7ff]+", "Digits"],
        {},
    ),
    "qwen35": (
        [
            QWEN2_PATTERN.replace(r"?\p{L}+", r"?[\p{L}\p{M}]+").replace(
                r"[^\s\p{L}\p{N}]", r"[^\s\p{L}\p{M}\p{N}]"
            )
        ],
        {},
    ),
    "gpt-2": (["ByteLevel"], {}),
    "smollm": (["Digits", "ByteLevel"], {}),
}


def steps(rules: list[str]) -> dict[str, Any]:
    """A pre_tokenizer of tokenizer.json."""
    found: list[dict[str, Any]] = []
    for rule in rules:
        if rule == "Digits":
            found.append({"type": "Digits", "individual_digits": True})
        elif rule != "ByteLevel":
            found.append(
                {
                    "type": "Split",
                    "pattern": {"Regex": rule},
                    "behavior": "Isolated",
                    "invert": False,
                }
            )
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False}
    found.append(byte_level | {"use_regex": rules[-1] == "ByteLevel"})
    return {"type": "Sequence", "pretokenizers": found}


@pytest.fixture(scope="module")
def trained() -> dict[str, Any]:
    """A BPE whose tokens reach across every border: it was taught the text in one piece."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=700, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([TEXT] * 3 + TEXT.split("\n") * 2, trainer)
    content: dict[str, Any] = json.loads(tokenizer.to_str())
    return content


@pytest.mark.parametrize("name", RULES)
def test_llama_cpp_splits_as_the_rule_says(
    name: str, trained: dict[str, Any], tmp_path: Path
) -> None:
    rules, model = RULES[name]
    content = trained | {"pre_tokenizer": steps(rules), "model": trained["model"] | model}
    assert pretokenizers.detect(content) == name
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    # llama.cpp 0.6.0-dev has no combining marks in its words of these two.
    text = (
        TEXT
        if name not in ("gpt-4o", "tekken")
        else TEXT.replace("हिन्दी", "").replace("\u0301", "")
    )
    with loaded(vocab.metadata(tmp_path, 800), tmp_path / "m.gguf") as opened:
        found = opened.vocab.tokenize(text).tolist()
    assert found == Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode(text).ids


def test_rules_that_are_nearly_one(trained: dict[str, Any]) -> None:
    def detect(rules: list[str], **model: Any) -> str | None:
        return pretokenizers.detect({"pre_tokenizer": steps(rules), "model": model})

    assert detect([QWEN2_PATTERN], ignore_merges=True) is None
    assert detect([CL100K, "ByteLevel"]) is None
    assert detect([r"\w+"]) is None
    prefix = steps(["ByteLevel"])
    prefix["pretokenizers"][-1]["add_prefix_space"] = True
    assert pretokenizers.detect({"pre_tokenizer": prefix, "model": {}}) is None
    # As the ports of OpenAI's tokenizers have it.
    removed = steps([CL100K])
    removed["pretokenizers"][0] |= {"behavior": "Removed", "invert": True}
    assert pretokenizers.detect({"pre_tokenizer": removed, "model": {}}) == "dbrx"


def test_every_name_is_llama_cpps_own(tmp_path: Path) -> None:
    """And it puts BOS in front where the file says nothing as we think it does."""
    (tmp_path / "tokenizer.json").write_text(json.dumps(bpe_tokenizer() | {"post_processor": None}))
    found = dict(vocab.metadata(tmp_path, 260)) | {"tokenizer.ggml.bos_token_id": values.u32(258)}
    for name in sorted(pretokenizers.LLAMA_CPP):
        metadata = found | {"tokenizer.ggml.pre": values.string(name)}
        with loaded(metadata, tmp_path / "m.gguf") as model:
            assert model.vocab.add_bos is (name in pretokenizers.ADD_BOS), name
    with pytest.raises(errors.CheckpointError, match="unknown pre-tokenizer type"):
        loaded(found | {"tokenizer.ggml.pre": values.string("gpt4o")}, tmp_path / "m.gguf")


def test_no_token_is_put_in_front_where_none_is_declared(tmp_path: Path) -> None:
    tokenizer = bpe_tokenizer(CL100K) | {"post_processor": None}
    tokenizer["model"]["ignore_merges"] = True
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    found = values.decoded(vocab.metadata(tmp_path, 264))
    assert found["tokenizer.ggml.pre"] == "llama-bpe"
    assert found["tokenizer.ggml.add_bos_token"] is False


def test_a_name_that_llama_cpp_has_not() -> None:
    assert ConvertParams(pretokenizer="gpt-4o").pretokenizer == "gpt-4o"
    with pytest.raises(ValueError, match=r"no pre-tokenizer 'gpt4o'; did you mean 'gpt-4o'"):
        ConvertParams(pretokenizer="gpt4o")


def loaded(metadata: values.Metadata, out: Path) -> Model:
    """A model without a tensor that has this vocabulary."""
    base = convert.prepare(samples.MODELS["stories-tok105"], outtype="F16").metadata
    kept = {key: value for key, value in base.items() if not key.startswith("tokenizer.")}
    out.write_bytes(stream.header({**kept, **metadata}, []))
    return Model(out, vocab_only=True)
