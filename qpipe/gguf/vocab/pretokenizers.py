"""Which of llama.cpp's pre-tokenizers does what tokenizer.json asks for.

llama.cpp knows pre-tokenizers by name. Its converter finds the name by the tokens that a test
text gives; here it is found by the splitting rule itself, which needs no tokenizer library and
also holds for a vocabulary never seen before (splitting_rules.py).
"""

from __future__ import annotations

from typing import Any

from qpipe.errors import nearest
from qpipe.gguf.vocab.splitting_rules import (
    ANY_MERGES,
    DIGITS,
    GPT2,
    IGNORE_MERGES,
    NAMES,
    NO_MARKS,
    USUAL,
    Splits,
)

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
    return sorted({names[0] for names in NAMES.values()} | {"dbrx"})


def check_name(name: str) -> str:
    """``name``, if llama.cpp has a pre-tokenizer of that name; ValueError with the nearest."""
    if name not in LLAMA_CPP:
        raise ValueError(f"llama.cpp knows no pre-tokenizer {name!r}; {nearest(name, LLAMA_CPP)}")
    return name


def note(name: object) -> str | None:
    """A note on what llama.cpp does otherwise than the rule that ``name`` stands for, or None."""
    if name not in NO_MARKS:
        return None
    return (
        f"llama.cpp's splitting rule {name} leaves combining marks out of words: texts in Hindi, "
        "Bengali, Thai and the like become other and more tokens than this tokenizer makes of them"
    )


def detect(tokenizer: dict[str, Any], model_class: str = "") -> str | None:
    """llama.cpp's name for the pre-tokenizer of a tokenizer.json; None if it is not recognized.

    Where several names share a rule, ``model_class``, as config.json has it, says which is usual.
    """
    splits = _splits(tokenizer)
    named = NAMES.get(splits, ()) if splits else ()
    whole = bool((tokenizer.get("model") or {}).get("ignore_merges"))
    alike = [name for name in named if (name in IGNORE_MERGES) is whole]
    if not alike and splits in ANY_MERGES:
        alike = [*named]
    usual = [n for start, ns in USUAL.items() if model_class.startswith(start) for n in ns]
    return next((name for name in [*usual, *alike] if name in alike), None)


def is_rule(pattern: object, name: str) -> bool:
    """True if one regular expression is all of the rule ``name``."""
    return isinstance(pattern, str) and name in NAMES.get((_escaped(pattern),), ())


def _splits(tokenizer: dict[str, Any]) -> Splits | None:
    """The splits in their order, as they stand in the table."""
    pre = tokenizer.get("pre_tokenizer") or {}
    steps = pre.get("pretokenizers", [pre])
    if not steps or steps[-1].get("type") != "ByteLevel" or steps[-1].get("add_prefix_space"):
        return None
    rules = [_rule(step) for step in steps[:-1]]
    if steps[-1].get("use_regex", True):
        rules.append(GPT2)
    splits = tuple(rule for rule in rules if rule is not None)
    return splits if len(splits) == len(rules) else None


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
    return _escaped(pattern) if isinstance(pattern, str) else None


def _escaped(pattern: str) -> str:
    """``pattern`` with line breaks as the table has them."""
    return pattern.replace("\r", r"\r").replace("\n", r"\n")
