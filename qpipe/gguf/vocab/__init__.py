"""Vocabularies: the ``tokenizer.*`` metadata, one module per kind of tokenizer."""

from __future__ import annotations

from pathlib import Path

from qpipe import errors
from qpipe.gguf import jsonfile, values
from qpipe.gguf.vocab import bpe, pieces, sentencepiece, special


def notes(folder: Path) -> list[str]:
    """Notes on the tokenizer's files, for whoever converts the checkpoint in ``folder``."""
    return special.notes(folder)


def metadata(
    folder: Path, n_vocab: int, *, pretokenizer: str | None = None, added_tokens: bool = False
) -> values.Metadata:
    """The tokenizer of the checkpoint in ``folder`` as metadata for ``n_vocab`` embedding rows.

    tokenizer.model goes before tokenizer.json, as in llama.cpp's converter
    (conversion/llama.py, set_vocab). ``added_tokens`` lays tokenizer.json's over a SentencePiece
    model.
    """
    try:
        if (folder / sentencepiece.FILE).is_file():
            return sentencepiece.metadata(folder, n_vocab, added_tokens=added_tokens)
        if (folder / bpe.FILE).is_file():
            tokenizer = jsonfile.load(folder / bpe.FILE)
            if pieces.describes(tokenizer):
                return pieces.metadata(folder, tokenizer, n_vocab, declared=added_tokens)
            return bpe.metadata(folder, tokenizer, n_vocab, pretokenizer=pretokenizer)
    except (AttributeError, KeyError, TypeError) as error:  # JSON of another shape than it has
        raise errors.CheckpointError(
            f"{folder}: its tokenizer files are not built as expected ({error}); download "
            "tokenizer.json, tokenizer_config.json and config.json again"
        ) from error
    raise errors.CheckpointError(
        f"{folder}: neither {sentencepiece.FILE} nor {bpe.FILE}; a checkpoint needs one of them: "
        "download it again"
    )
