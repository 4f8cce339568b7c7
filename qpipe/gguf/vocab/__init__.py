"""Vocabularies: the ``tokenizer.*`` metadata, one module per kind of tokenizer."""

from __future__ import annotations

from pathlib import Path

from qpipe import errors
from qpipe.gguf import jsonfile, values
from qpipe.gguf.vocab import (
    bpe,
    conventions,
    pieces,
    pretokenizers,
    sentencepiece,
    special,
    tekken,
    text_bpe,
)


def notes(folder: Path, fields: values.Metadata) -> list[str]:
    """Notes on the tokenizer's files, for whoever converts the checkpoint in ``folder``, and on
    what is made of them (``fields``)."""
    name = fields.get("tokenizer.ggml.pre")
    note = None if name is None else pretokenizers.note(values.decode(name))
    return [*special.notes(folder), *([note] if note else [])]


def metadata(
    folder: Path,
    n_vocab: int,
    *,
    pretokenizer: str | None = None,
    added_tokens: bool = False,
    model_class: str = "",
) -> values.Metadata:
    """The tokenizer of the checkpoint in ``folder`` as metadata for ``n_vocab`` embedding rows.

    tokenizer.model goes before tokenizer.json, as in llama.cpp's converter
    (conversion/llama.py, set_vocab), unless ``model_class`` (config.json's) has BPE on text; and
    that before tekken.json. ``added_tokens`` lays tokenizer.json's over a SentencePiece model.
    """
    try:
        on_text = model_class.startswith(conventions.GEMMA4) and (folder / bpe.FILE).is_file()
        if sentencepiece.is_model(folder / sentencepiece.FILE) and not on_text:
            return sentencepiece.metadata(folder, n_vocab, added_tokens=added_tokens)
        if (folder / bpe.FILE).is_file():
            tokenizer = jsonfile.load(folder / bpe.FILE)
            if pieces.describes(tokenizer):
                if on_text:
                    return text_bpe.metadata(folder, tokenizer, n_vocab)
                return pieces.metadata(folder, tokenizer, n_vocab, declared=added_tokens)
            return bpe.metadata(
                folder, tokenizer, n_vocab, pretokenizer=pretokenizer, model_class=model_class
            )
        if (folder / tekken.FILE).is_file():
            return tekken.metadata(folder, n_vocab)
    except (AttributeError, KeyError, TypeError) as error:  # JSON of another shape than it has
        raise errors.CheckpointError(
            f"{folder}: its tokenizer files are not built as expected ({error}); download "
            "tokenizer.json, tokenizer_config.json and config.json again"
        ) from error
    raise errors.CheckpointError(
        f"{folder}: neither {sentencepiece.FILE} nor {bpe.FILE}; a checkpoint needs one of them: "
        "download it again"
    )
