"""SentencePiece: tokenizer.model with the added tokens of the files beside it.

Source: llama.cpp, conversion/base.py, _create_vocab_sentencepiece.
"""

from __future__ import annotations

from pathlib import Path

from qpipe import errors
from qpipe.gguf import jsonfile, values
from qpipe.gguf.vocab import protobuf, special
from qpipe.gguf.vocab.base import Tokens, TokenType, looks_special

FILE = "tokenizer.model"
ADDED_SCORE = -1000.0

# The converter writes user-defined pieces (4) as normal ones.
_KINDS = {2: TokenType.UNKNOWN, 3: TokenType.CONTROL, 5: TokenType.UNUSED, 6: TokenType.BYTE}


def metadata(folder: Path, n_vocab: int, *, added_tokens: bool = False) -> values.Metadata:
    """The vocabulary in ``folder`` as ``tokenizer.*``, padded to ``n_vocab`` tokens.

    Raises `CheckpointError` for a file that is damaged or has more tokens than the embedding has
    rows; added tokens without a row are passed over, as by the converter. ``added_tokens`` also
    lays tokenizer.json's over it, where only what is declared special controls (conversion/phi.py,
    Phi3MiniModel.set_vocab).
    """
    tokens = Tokens.unused(n_vocab)
    pieces = _pieces(folder / FILE)
    _refuse_more(pieces[n_vocab:], folder / FILE, n_vocab)
    for i, piece in enumerate(pieces[:n_vocab]):
        tokens.put(i, piece.text, piece.score, _KINDS.get(piece.kind, TokenType.NORMAL))
    _put_added(tokens, folder / "added_tokens.json")
    _put_decoder(tokens, folder / "tokenizer_config.json", declared=added_tokens)
    if added_tokens:
        _put_listed(tokens, folder / "tokenizer.json")
    found = tokens.metadata("llama", "default", scores=True)
    return found | special.metadata(folder, n_vocab=n_vocab)


def _pieces(path: Path) -> list[protobuf.Piece]:
    try:
        return protobuf.pieces(path.read_bytes())
    except ValueError as error:
        raise errors.CheckpointError(
            f"{path}: no SentencePiece model: {error}; download it again"
        ) from None


def _refuse_more(beyond: list[protobuf.Piece], path: Path, n_vocab: int) -> None:
    # The converter cuts them off; whoever then meets one in a text is given another.
    used = [piece for piece in beyond if _KINDS.get(piece.kind) is not TokenType.UNUSED]
    if used:
        last = used[-1].text.decode(errors="replace")
        raise errors.CheckpointError(
            f"{path}: has {n_vocab + len(beyond)} tokens up to {last!r}, and the embedding in "
            f"model.safetensors has {n_vocab} rows (vocab_size in config.json); they belong to "
            "different models: download both again"
        )


def _put_added(tokens: Tokens, path: Path) -> None:
    """added_tokens.json: {token: id}."""
    for text, index in (jsonfile.load(path) if path.is_file() else {}).items():
        if _usable(index, tokens, path):
            tokens.put(index, text.encode(), ADDED_SCORE, TokenType.USER_DEFINED)


def _put_listed(tokens: Tokens, path: Path) -> None:
    """tokenizer.json's added_tokens: [{id, content, special}]."""
    for entry in (jsonfile.load(path).get("added_tokens") or []) if path.is_file() else []:
        if _usable(entry["id"], tokens, path):
            kind = TokenType.CONTROL if entry.get("special") else TokenType.USER_DEFINED
            tokens.put(entry["id"], entry["content"].encode(), ADDED_SCORE, kind)


def _put_decoder(tokens: Tokens, path: Path, *, declared: bool) -> None:
    """tokenizer_config.json's added_tokens_decoder: {id: {content, special}}."""
    config = jsonfile.load(path) if path.is_file() else {}
    for key, entry in (config.get("added_tokens_decoder") or {}).items():
        index = int(key) if key.isdecimal() else key
        if not isinstance(entry, dict) or not isinstance(entry.get("content"), str):
            raise errors.CheckpointError(
                f"{path}: added_tokens_decoder[{key!r}] has no text in 'content'; download it again"
            )
        text = entry["content"]
        if not _usable(index, tokens, path):
            continue
        kind = TokenType.CONTROL
        if not (entry.get("special") or (looks_special(text) and not declared)):
            kind, text = TokenType.USER_DEFINED, text if declared else text.replace("▁", " ")
        tokens.put(index, text.encode(), ADDED_SCORE, kind)


def _usable(index: object, tokens: Tokens, path: Path) -> bool:
    """Whether a token has a row in the embedding; the converter passes over the others."""
    if not isinstance(index, int) or index < 0:
        raise errors.CheckpointError(
            f"{path}: the token id {index!r} is no number; download it again"
        )
    return index < len(tokens.texts)
