"""Which of llama.cpp's pre-tokenizers does what tokenizer.json asks for.

llama.cpp knows pre-tokenizers by name. Its converter finds the name by the tokens that a test
text gives; here it is found by the splitting rule itself, which needs no tokenizer library and
also holds for a vocabulary never seen before. Rules and names: llama.cpp, src/llama-vocab.cpp
(llm_tokenizer_bpe with its "original regex from tokenizer.json", and the flags set at load). Of
names with the same rule, one stands for all.
"""

from __future__ import annotations

from typing import Any

from qpipe.errors import nearest

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
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"""
    "|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*"
    "|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"
)
# Steps that are no regular expression.
GPT2 = "ByteLevel"  # the one that is built into it
DIGITS = "Digits"  # one by one

# (splits in their order; ignore_merges, or None where it does not matter) → name
_NAMES: dict[tuple[tuple[str, ...], bool | None], str] = {
    ((rf"{_CONTRACTIONS}{_LETTERS}|\p{{N}}{_TAIL}",), False): "qwen2",
    ((_CL100K,), True): "llama-bpe",
    ((_CL100K,), False): "dbrx",
    ((GPT2,), False): "gpt-2",
    ((DIGITS, GPT2), False): "smollm",
    ((_O200K,), None): "gpt-4o",
    ((_TEKKEN,), None): "tekken",
    ((r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", _DEEPSEEK), None): "deepseek-v3",
    (
        (
            rf"{_CONTRACTIONS}|{_START}[\p{{L}}\p{{M}}]+|\p{{N}}"
            rf"| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*{_SPACES}",
        ),
        False,
    ): "qwen35",
    (
        ("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", DIGITS),
        False,
    ): "deepseek-coder",
}

# llama_vocab::impl::load, tokenizer_pre.
# fmt: off
LLAMA_CPP = frozenset({
    "a.x-4.0", "afmoe", "bailingmoe", "bailingmoe2", "bloom", "chameleon", "chatglm-bpe",
    "codeshell", "cohere2moe", "command-r", "dbrx", "deepseek-coder", "deepseek-llm",
    "deepseek-r1-qwen", "deepseek-v3", "default", "exaone", "exaone-moe", "exaone4", "f2llmv2",
    "falcon", "falcon-h1", "falcon3", "gemma4", "gigachat", "glm4", "gpt-2", "gpt-4o",
    "gpt3-finnish", "granite-docling", "granite-embed-multi-311m", "granite-embed-multi-97m",
    "grok-2", "hunyuan", "hunyuan-dense", "jais", "jais-2", "jina-de", "jina-es", "jina-v1-en",
    "jina-v2-code", "jina-v2-de", "jina-v2-es", "jina-v5-nano", "joyai-llm", "kanana2", "kimi-k2",
    "kormo", "laguna", "lfm2", "llada-moe", "llama-bpe", "llama-v3", "llama3", "llama4", "megrez",
    "mellum", "mellum2", "midm-2.0", "minerva-7b", "minicpm5", "minimax-m2", "modern-bert", "mpt",
    "olmo", "phi-2", "pixtral", "poro-chat", "qwen2", "qwen35", "refact", "roberta-bpe",
    "sarvam-moe", "seed-coder", "smaug-bpe", "smollm", "solar-open", "stablelm2", "starcoder",
    "superbpe", "talkie", "tekken", "tiny_aya", "trillion", "viking", "whitespace", "youtu",
})
# fmt: on
# Those that put BOS in front of a text unless the file says otherwise.
# fmt: off
ADD_BOS = frozenset({
    "llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2",
    "jina-v5-nano", "tekken", "chameleon", "gemma4", "granite-embed-multi-311m",
})
# fmt: on


def names() -> list[str]:
    """The pre-tokenizers that can be recognized."""
    return sorted(_NAMES.values())


def check_name(name: str) -> str:
    """``name``, if llama.cpp has a pre-tokenizer of that name; ValueError with the nearest."""
    if name not in LLAMA_CPP:
        raise ValueError(f"llama.cpp knows no pre-tokenizer {name!r}; {nearest(name, LLAMA_CPP)}")
    return name


def detect(tokenizer: dict[str, Any]) -> str | None:
    """llama.cpp's name for the pre-tokenizer of a tokenizer.json; None if it is not recognized."""
    model, pre = tokenizer.get("model") or {}, tokenizer.get("pre_tokenizer") or {}
    steps = pre.get("pretokenizers", [pre])
    if not steps or steps[-1].get("type") != "ByteLevel" or steps[-1].get("add_prefix_space"):
        return None
    rules = [_rule(step) for step in steps[:-1]]
    if steps[-1].get("use_regex", True):
        rules.append(GPT2)
    if None in rules or not rules:
        return None
    splits = tuple(rule for rule in rules if rule is not None)
    name = _NAMES.get((splits, bool(model.get("ignore_merges"))))
    return name or _NAMES.get((splits, None))


def _rule(step: dict[str, Any]) -> str | None:
    """A step as it stands in the table."""
    if step.get("type") == "Digits" and step.get("individual_digits"):
        return DIGITS
    # What remains where all that matches no rule is removed is the same, as every rule ends in
    # one for whatever is left.
    behavior = step.get("behavior"), bool(step.get("invert"))
    if step.get("type") != "Split" or behavior not in (("Isolated", False), ("Removed", True)):
        return None
    pattern = (step.get("pattern") or {}).get("Regex")
    return pattern if isinstance(pattern, str) else None
