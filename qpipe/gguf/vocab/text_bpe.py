"""BPE on text itself, not on its bytes: Gemma 4's tokenizer.json.

Its alphabet is SentencePiece's, with ▁ for a space and tokens for bytes, but merges are followed
in their order, as in tokenizer.json, over whole texts between line breaks: nothing has to be
deduced of scores. Source: llama.cpp, conversion/gemma.py (Gemma4Model), gguf-py/gguf/vocab.py
(LlamaHfVocab), src/llama-vocab.cpp (LLAMA_VOCAB_PRE_TYPE_GEMMA4).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qpipe import errors
from qpipe.gguf import jsonfile, values
from qpipe.gguf.vocab import added, bpe, pieces, special
from qpipe.gguf.vocab.base import TokenTable, TokenType

SCORE = -1000.0
MODEL = "gemma4"

# A chat's parser must see these in what the model writes.
_VISIBLE = frozenset({
    "<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>", "<|tool_response>",
    "<tool_response|>", '<|"|>',
})  # fmt: skip


def metadata(folder: Path, tokenizer: dict[str, Any], n_vocab: int) -> values.Metadata:
    """The vocabulary in ``folder``, whose tokenizer.json holds ``tokenizer``, as ``tokenizer.*``.

    Rows of the embedding without a token are unused ones. Raises `CheckpointError` for a
    tokenizer of another kind, for one that llama.cpp would not follow, and for more tokens than
    the embedding has rows.
    """
    path = folder / bpe.FILE
    if pieces.space_prefix(path, tokenizer):
        raise errors.CheckpointError(
            f"{path}: puts a space before a text, as llama.cpp does not for {MODEL}; take the "
            "tokenizer that the model was published with"
        )
    vocab, entries = tokenizer["model"]["vocab"], tokenizer.get("added_tokens") or []
    named = _named(folder)
    tokens = TokenTable.unused(n_vocab)
    for text, index in vocab.items():
        _require_one_line(path, text)
        kind = TokenType.CONTROL if text in named else TokenType.NORMAL
        _put(tokens, path, text, index, kind)
    for entry in entries:
        if (text := entry["content"]) in vocab or added.usable(entry["id"], tokens, path):
            special_one = entry.get("special") or text in named
            # The converter makes those with a place in model.vocab plain pieces, and llama.cpp
            # 0.6.0-dev then does not find them in a text.
            kind = TokenType.CONTROL if special_one else TokenType.USER_DEFINED
            _put(tokens, path, text, entry["id"], kind)
    fields = tokens.metadata(MODEL, None, scores=True)
    merges = bpe.merges(path, tokenizer["model"].get("merges"))
    fields["tokenizer.ggml.merges"] = values.strings(merges)
    fields |= special.metadata(folder, tokenizer)
    return fields | {
        "tokenizer.ggml.add_space_prefix": values.boolean(False),
        "tokenizer.ggml.add_bos_token": values.boolean(True),
    }


def _require_one_line(path: Path, text: str) -> None:
    # llama.cpp 0.6.0-dev splits a text at line breaks before it looks for merges.
    if "\n" in text and text.strip("\n"):
        raise errors.CheckpointError(
            f"{path}: the token {text!r:.60} reaches over the end of a line, where llama.cpp "
            "splits texts before all else: they would be split otherwise than by this tokenizer"
        )


def _put(tokens: TokenTable, path: Path, text: str, index: object, kind: TokenType) -> None:
    pieces.require_row(path, text, index, len(tokens.texts))
    assert isinstance(index, int)
    if text in _VISIBLE:
        kind = TokenType.USER_DEFINED
    elif pieces.BYTE.fullmatch(text):
        kind = TokenType.BYTE
    tokens.put(index, text.encode(), SCORE, kind)


def _named(folder: Path) -> set[str]:
    """The tokens that tokenizer_config.json names as special ones."""
    path = folder / "tokenizer_config.json"
    config = jsonfile.load(path) if path.is_file() else {}
    extra = config.get("extra_special_tokens") or []
    named = [value for key, value in config.items() if key.endswith("_token")]
    named += extra.values() if isinstance(extra, dict) else extra
    texts = [value.get("content") if isinstance(value, dict) else value for value in named]
    return {text for text in texts if isinstance(text, str)}
