"""Splitting rules of byte-level BPE tokenizers, by llama.cpp's names and by its splitting."""

from __future__ import annotations

import json
import random
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from qpipe import errors
from qpipe.engines.convert import ConvertParams
from qpipe.gguf import convert, stream, values, vocab
from qpipe.gguf.vocab import pretokenizers, splitting_rules
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
    "seed-coder": (
        [
            "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1}"
            "| ?[^\\s\\p{L}\\p{N}\r\n]+|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"
        ],
        {},
    ),
    "bailingmoe": (
        [
            r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}"
            r"| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
        ],
        {},
    ),
    "exaone-moe": (
        [
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+"
            r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"
        ],
        {},
    ),
    "minicpm5": (
        [r"\p{N}{1,3}", CL100K.replace(r"\p{N}{1,3}", r"\p{N}+")],
        {"ignore_merges": True},
    ),
    "laguna": ([r"[^\n]+|[\n]+", QWEN2_PATTERN], {}),
}
TEXTS = 150
# Blocks of Unicode that random texts are made of.
BLOCKS = (
    *((0x20, 0x7E),) * 6, (0xA0, 0x24F), (0x370, 0x3FF), (0x400, 0x4FF), (0x590, 0x5FF),
    (0x600, 0x6FF), (0x900, 0x97F), (0xE00, 0xE7F), (0x1100, 0x11FF), (0x3040, 0x30FF),
    (0x4E00, 0x4EFF), (0xAC00, 0xACFF), (0x300, 0x36F), (0x2000, 0x206F), (0x2070, 0x218F),
    (0x1F600, 0x1F64F), (0x9, 0xD),
)  # fmt: skip
BETWEEN = (
    *("", " ", "  ", "\n", "\r\n", "\t", "1234567", "'s", "'LL", " \n ", "\u00a0", "\u3000"),
    *("...", "/", "://"),
)


def random_texts(count: int) -> list[str]:
    """Texts of many scripts."""
    draw = random.Random(count)
    texts = []
    for _ in range(count):
        parts = []
        for _ in range(draw.randint(1, 6)):
            low, high = draw.choice(BLOCKS)
            parts += [chr(draw.randint(low, high)) for _ in range(draw.randint(1, 5))]
            parts.append(draw.choice(BETWEEN))
        # Which code points are letters at all, both know of different versions of Unicode.
        texts.append("".join(c for c in "".join(parts) if unicodedata.category(c) != "Cn"))
    return texts


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


def same_in_both(name: str, text: str) -> str:
    """``text`` without what llama.cpp 0.6.0-dev splits otherwise than the rule ``name``."""
    kinds = [(char, unicodedata.category(char)) for char in text]
    if pretokenizers.note(name):  # no marks in words, no case outside ASCII
        upper = ("Lu", "Lt")
        return "".join(c for c, k in kinds if c < "\x80" or not (k[0] == "M" or k in upper))
    if name == "deepseek-coder":
        return "".join(char for char, kind in kinds if char < "\x80" or kind[0] != "Z")
    return text


@pytest.fixture(scope="module")
def trained() -> dict[str, Any]:
    """A BPE whose tokens reach across every border: it was taught each text in one piece, until
    most of them are a token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=8000, initial_alphabet=alphabet, show_progress=False)
    texts = random_texts(TEXTS)
    texts += [same_in_both(name, text) for name in ("tekken", "deepseek-coder") for text in texts]
    tokenizer.train_from_iterator([TEXT] * 3 + TEXT.split("\n") * 2 + texts, trainer)
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
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    with loaded(vocab.metadata(tmp_path, 8000), tmp_path / "m.gguf") as opened:
        for text in (same_in_both(name, text) for text in [TEXT, *random_texts(TEXTS)]):
            assert opened.vocab.tokenize(text).tolist() == tokenizer.encode(text).ids, text


@pytest.mark.parametrize(
    ("rules", "model_class", "name"),
    [
        (RULES["llama-bpe"], "Lfm2MoeForCausalLM", "lfm2"),
        (RULES["llama-bpe"], "Glm4ForCausalLM", "llama-bpe"),
        (RULES["dbrx"], "Glm4MoeForCausalLM", "glm4"),
        (RULES["gpt-4o"], "Llama4ForConditionalGeneration", "llama4"),
        (RULES["deepseek-v3"], "HunYuanDenseV1ForCausalLM", "hunyuan-dense"),
        (RULES["gpt-2"], "Exaone4ForCausalLM", "exaone4"),
        (RULES["smollm"], "GraniteForCausalLM", "refact"),
        (RULES["qwen2"], "GraniteForCausalLM", "qwen2"),
    ],
)
def test_the_name_that_is_usual_for_the_class(rules: Any, model_class: str, name: str) -> None:
    """Where several share the rule, and take the same words whole."""
    splits, model = rules
    content = {"pre_tokenizer": steps(splits), "model": model}
    assert pretokenizers.detect(content, model_class) == name


def test_every_name_of_a_rule_splits_alike(trained: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(trained))
    metadata = vocab.metadata(tmp_path, 8000, pretokenizer="qwen2")
    for splits, names in splitting_rules.NAMES.items():
        found = []
        for name in names:
            named = metadata | {"tokenizer.ggml.pre": values.string(name)}
            with loaded(named, tmp_path / "m.gguf") as opened:
                found.append([opened.vocab.tokenize(text).tolist() for text in random_texts(20)])
        assert all(tokens == found[0] for tokens in found), splits


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
