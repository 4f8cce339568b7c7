"""Vocabularies: the ``tokenizer.*`` metadata, one module per kind of tokenizer."""

from __future__ import annotations

from pathlib import Path

from qpipe import errors
from qpipe.gguf import values
from qpipe.gguf.vocab import sentencepiece


def metadata(folder: Path, n_vocab: int) -> values.Metadata:
    """The tokenizer of the checkpoint in ``folder`` as metadata for ``n_vocab`` embedding rows.

    tokenizer.model goes before tokenizer.json, as in llama.cpp's converter
    (conversion/llama.py, set_vocab).
    """
    if (folder / sentencepiece.FILE).is_file():
        return sentencepiece.metadata(folder, n_vocab)
    raise errors.CheckpointError(
        f"{folder}: no {sentencepiece.FILE}; "
        "only SentencePiece vocabularies can be converted so far"
    )
