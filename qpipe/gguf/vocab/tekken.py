"""tekken.json, Mistral's own tokenizer file, where no tokenizer.json lies beside it.

A table of byte strings by rank, as tiktoken has it, behind a number of special tokens. Merges are
every way of making a token of two others, in the order of ranks. Source: llama.cpp,
conversion/base.py (_set_vocab_mistral), gguf-py/gguf/vocab.py (MistralVocab); mistral-common 1.13,
tokens/tokenizers/tekken.py. llama.cpp's converter needs mistral-common for it, and writes a chat
template of its own; here it is the folder's.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qpipe import errors
from qpipe.gguf import jsonfile, values
from qpipe.gguf.vocab import pretokenizers, special
from qpipe.gguf.vocab.base import TokenTable, TokenType

FILE = "tekken.json"
PRE = "tekken"

# What tokenizers up to version 7, whose files have none, begin with.
_OLD = (
    "<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]",
    "[IMG_END]", "[PREFIX]", "[MIDDLE]", "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]",
    "[TOOL_CONTENT]",
)  # fmt: skip
_IDS = {"bos": "<s>", "eos": "</s>", "unknown": "<unk>", "padding": "<pad>"}


def metadata(folder: Path, n_vocab: int) -> values.Metadata:
    """The vocabulary in ``folder`` as ``tokenizer.*``, padded to ``n_vocab`` tokens.

    Raises `CheckpointError` for a file that is damaged, of another splitting rule, or of more
    tokens than the embedding has rows.
    """
    path = folder / FILE
    content = jsonfile.load(path)
    config = content["config"]
    if not pretokenizers.is_rule(config["pattern"], PRE):
        raise errors.CheckpointError(
            f"{path}: field 'config.pattern' is {errors.quoted(config['pattern'])}, which is not "
            f"llama.cpp's rule {PRE}: texts would be split otherwise than by this tokenizer"
        )
    count, size = config["default_num_special_tokens"], config["default_vocab_size"]
    if type(count) is not int or not 0 <= count <= n_vocab:
        raise errors.CheckpointError(
            f"{path}: field 'config.default_num_special_tokens' is {errors.quoted(count)}, and "
            f"config.json's vocab_size is {n_vocab}: download both again"
        )
    specials = _specials(content, count)
    if size > n_vocab:
        raise errors.CheckpointError(
            f"{path}: has {size} tokens, but config.json's vocab_size is {n_vocab}; they belong to "
            "different models: download both again"
        )
    words = _words(path, content["vocab"][: size - len(specials)])
    tokens = TokenTable.unused(n_vocab)
    for index, text in enumerate(specials):
        tokens.put(index, text.encode(), 0.0, TokenType.CONTROL)
    for index, word in enumerate(words, start=len(specials)):
        tokens.put(index, _letters(word), 0.0, TokenType.NORMAL)
    ids = {kind: specials.index(text) for kind, text in _IDS.items() if text in specials}
    ids.setdefault("padding", ids["eos"])
    listed = tokens.metadata("gpt2", PRE, scores=True)
    return (
        {key: listed.pop(key) for key in ("tokenizer.ggml.model", "tokenizer.ggml.pre")}
        | {"tokenizer.ggml.merges": values.strings(list(_merges(path, words)))}
        | {f"tokenizer.ggml.{kind}_token_id": values.u32(ids[kind]) for kind in ids}
        | listed
        | {"tokenizer.ggml.add_bos_token": values.boolean(True)}
        | {"tokenizer.ggml.add_eos_token": values.boolean(False)}
        | special.chat_template(folder)
    )


def _specials(content: dict[str, Any], count: int) -> list[str]:
    listed = content.get("special_tokens")
    texts = [*_OLD] if listed is None else [entry["token_str"] for entry in listed]
    return texts + [f"<SPECIAL_{i}>" for i in range(len(texts), count)]


def _words(path: Path, entries: list[Any]) -> list[bytes]:
    """The byte strings in the order of their ranks, of which the first are the bytes."""
    try:
        words = [base64.b64decode(entry["token_bytes"], validate=True) for entry in entries]
    except (binascii.Error, ValueError) as error:
        raise errors.CheckpointError(
            f"{path}: field 'vocab' holds a token that is no base64 ({error}); download it again"
        ) from None
    ranks = [entry["rank"] for entry in entries]
    if ranks != list(range(len(entries))) or words[:256] != [bytes([n]) for n in range(256)]:
        raise errors.CheckpointError(
            f"{path}: field 'vocab' does not hold all bytes and then the other tokens by rank; "
            "download it again"
        )
    return words


def _merges(path: Path, words: list[bytes]) -> Iterator[bytes]:
    """Every way of making each word of two others, by rank of the word, then of the others."""
    ranks = {word: rank for rank, word in enumerate(words)}
    for word in words[256:]:
        halves = ((word[:at], word[at:]) for at in range(1, len(word)))
        ways = sorted(
            (ranks[left], ranks[right])
            for left, right in halves
            if left in ranks and right in ranks
        )
        if not ways:
            raise errors.CheckpointError(
                f"{path}: no two tokens make {word!r}, which is one; download it again"
            )
        yield from (_letters(words[left]) + b" " + _letters(words[right]) for left, right in ways)


def _shown() -> list[bytes]:
    """GPT-2's printable letter for each byte."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in plain else next(others)).encode() for byte in range(256)]


_LETTERS = _shown()


def _letters(word: bytes) -> bytes:
    return b"".join([_LETTERS[byte] for byte in word])
