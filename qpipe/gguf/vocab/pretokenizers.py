"""Which of llama.cpp's pre-tokenizers does what tokenizer.json asks for.

llama.cpp knows pre-tokenizers by name. Its converter finds the name by the tokens that a test
text gives; here it is found by the splitting rule itself, which needs no tokenizer library and
also holds for a vocabulary never seen before. Rules and names: llama.cpp, src/llama-vocab.cpp
(llm_tokenizer_bpe, and the flags set at load).
"""

from __future__ import annotations

from typing import Any

_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LETTERS = r"|[^\r\n\p{L}\p{N}]?\p{L}+"

# (regular expression, or None for GPT-2's built into ByteLevel; ignore_merges) → name
_NAMES = {
    (rf"{_CONTRACTIONS}{_LETTERS}|\p{{N}}{_TAIL}", False): "qwen2",
    (rf"{_CONTRACTIONS}{_LETTERS}|\p{{N}}{{1,3}}{_TAIL}", True): "llama-bpe",
    (None, False): "gpt-2",
}


def names() -> list[str]:
    """The pre-tokenizers that can be recognized."""
    return sorted(_NAMES.values())


def detect(tokenizer: dict[str, Any]) -> str | None:
    """llama.cpp's name for the pre-tokenizer of a tokenizer.json; None if it is not recognized."""
    model, pre = tokenizer.get("model") or {}, tokenizer.get("pre_tokenizer") or {}
    steps = pre.get("pretokenizers", [pre])
    if not steps or steps[-1].get("type") != "ByteLevel" or steps[-1].get("add_prefix_space"):
        return None
    built_in = steps[-1].get("use_regex", True)
    if len(steps) == 1:
        pattern = None
    elif len(steps) == 2 and not built_in and steps[0].get("behavior") == "Isolated":
        pattern = (steps[0].get("pattern") or {}).get("Regex")
    else:
        return None
    if pattern is None and not (built_in and len(steps) == 1):
        return None
    return _NAMES.get((pattern, bool(model.get("ignore_merges"))))
