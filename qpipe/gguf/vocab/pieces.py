"""SentencePiece out of tokenizer.json alone, as transformers 5 saves a model: no tokenizer.model.

A SentencePiece BPE model is pieces with scores: of two neighbours whose joint text is a piece,
those with the best score are joined first (llama.cpp, src/llama-vocab.cpp,
llm_tokenizer_spm_session).
tokenizer.json has in place of scores every way of making a piece of two, in the order of their
scores (transformers, convert_slow_tokenizer.py, generate_merges). Where pieces were numbered by
score, as SentencePiece's trainer does, the scores are those of tokenizer.model: 0, -1, -2, ….

llama.cpp's own converter gives every piece -1000 here (gguf-py/gguf/vocab.py, LlamaHfVocab), with
which texts are split from left to right, not as the model was trained.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from qpipe import errors
from qpipe.gguf import jsonfile, values
from qpipe.gguf.vocab import added, special
from qpipe.gguf.vocab.base import TokenTable, TokenType

FILE = "tokenizer.json"
SPACE = "▁"

BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_WAY_OUT = "copy tokenizer.model of the model that it was made from into this folder"

Steps = list[dict[str, Any]]


def describes(tokenizer: dict[str, Any]) -> bool:
    """True if a tokenizer.json holds such a vocabulary."""
    model = tokenizer.get("model") or {}
    if model.get("type") != "BPE" or any(s.get("type") == "ByteLevel" for s in _splits(tokenizer)):
        return False
    return bool(model.get("byte_fallback")) or SPACE in model.get("vocab", {})


def metadata(
    folder: Path, tokenizer: dict[str, Any], n_vocab: int, *, declared: bool = False
) -> values.Metadata:
    """The vocabulary in ``folder``, whose tokenizer.json holds ``tokenizer``, as ``tokenizer.*``,
    padded to ``n_vocab`` tokens.

    ``declared`` is as in `added.put`. ``tokenizer.ggml.add_space_prefix`` says what tokenizer.json
    does. Raises `CheckpointError` for a tokenizer that splits texts as no SentencePiece model can,
    and for pieces without a row in the embedding.
    """
    path = folder / FILE
    prefix = space_prefix(path, tokenizer)
    vocab, merges = tokenizer["model"]["vocab"], list(_merges(path, tokenizer["model"]))
    tokens = TokenTable.unused(n_vocab)
    entries = tokenizer.get("added_tokens") or []
    unknown = _unknown(folder, tokenizer)
    reserved = {entry.get("content") for entry in entries} | {unknown}
    scores = _scores(path, vocab, merges, reserved)
    for text, index in vocab.items():
        require_row(path, text, index, n_vocab)
        kind = TokenType.BYTE if BYTE.fullmatch(text) else TokenType.NORMAL
        tokens.put(index, text.encode(), scores.get(text, 0.0), kind)
    for entry in entries:
        in_vocab = entry.get("content") in vocab
        added.put(tokens, entry, path=path, declared=declared, score=0.0 if in_vocab else None)
    if unknown in vocab:
        tokens.put(vocab[unknown], unknown.encode(), 0.0, TokenType.UNKNOWN)
    fields = tokens.metadata("llama", "default", scores=True)
    fields["tokenizer.ggml.add_space_prefix"] = values.boolean(prefix)
    return fields | special.metadata(folder, tokenizer, n_vocab=n_vocab)


def _steps(part: dict[str, Any] | None, plural: str) -> Steps:
    """A normalizer or pre-tokenizer as the list of its steps."""
    return (part.get(plural) or [part]) if part else []


def _splits(tokenizer: dict[str, Any]) -> Steps:
    return _steps(tokenizer.get("pre_tokenizer"), "pretokenizers")


def space_prefix(path: Path, tokenizer: dict[str, Any]) -> bool:
    """True if a space is put in front of a text. Metaspace puts none before a text that begins with
    one (tokenizers 0.23), which llama.cpp does."""
    prefix = False
    for step in [*_steps(tokenizer.get("normalizer"), "normalizers"), *_splits(tokenizer)]:
        pattern = (step.get("pattern") or {}).get("String")
        kind = step.get("type")
        if kind == "Prepend" and step.get("prepend") == SPACE:
            prefix = True
        elif (
            kind == "Metaspace" and step.get("replacement") == SPACE and not step.get("split", True)
        ):
            scheme = step.get("prepend_scheme", "always")
            prefix |= scheme != "never" and step.get("add_prefix_space", True)
        # A split at spaces finds none where they were replaced before.
        elif pattern != " " or (kind, step.get("content")) not in (
            ("Replace", SPACE),
            ("Split", None),
        ):
            raise errors.CheckpointError(
                f"{path}: the step {kind!r} ({_shown(step)}) of its normalizer or pre_tokenizer is "
                f"none that a SentencePiece vocabulary in GGUF can tell of; {_WAY_OUT}"
            )
    return prefix


def _shown(step: dict[str, Any]) -> str:
    return ", ".join(f"{key}: {value}" for key, value in step.items() if key != "type")[:100]


def _merges(path: Path, model: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for merge in model.get("merges") or []:
        pair = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(pair, list) or [type(part) for part in pair] != [str, str]:
            raise errors.CheckpointError(
                f"{path}: model.merges holds {merge!r:.60}, no pair of tokens; download it again"
            )
        yield pair[0], pair[1]


def _scores(
    path: Path, vocab: dict[str, int], merges: list[tuple[str, str]], reserved: set[str | None]
) -> dict[str, float]:
    """The score of each piece that is no byte and not in ``reserved``."""
    pieces = [text for text in vocab if text not in reserved and not BYTE.fullmatch(text)]
    pieces.sort(key=vocab.__getitem__)
    _require_every_split(path, pieces, vocab, set(merges))
    products = list(dict.fromkeys(first + second for first, second in merges))
    numbers = [vocab[text] for text in products if text in vocab and text not in reserved]
    if numbers != sorted(numbers):  # not numbered by score: in the order of the merges
        order = {text: rank for rank, text in enumerate(products)}
        pieces.sort(key=lambda text: order.get(text, len(order)))
    return {text: -float(rank) for rank, text in enumerate(pieces)}


def _require_every_split(
    path: Path, pieces: Iterable[str], vocab: dict[str, int], merges: set[tuple[str, str]]
) -> None:
    # llama.cpp 0.6.0-dev joins any two neighbours that make a piece, whether or not they are a
    # merge.
    for text in pieces:
        for at in range(1, len(text)):
            first, second = text[:at], text[at:]
            if first in vocab and second in vocab and (first, second) not in merges:
                raise errors.CheckpointError(
                    f"{path}: no merge makes {text!r} of {first!r} and {second!r}, as llama.cpp "
                    "would, whose SentencePiece knows no merges: it would split texts otherwise "
                    f"than this tokenizer; {_WAY_OUT}, if that had one"
                )


def _unknown(folder: Path, tokenizer: dict[str, Any]) -> str:
    """The token for what cannot be written."""
    path = folder / "tokenizer_config.json"
    named = jsonfile.load(path).get("unk_token") if path.is_file() else None
    text = named.get("content") if isinstance(named, dict) else named
    return str(tokenizer["model"].get("unk_token") or text or "<unk>")


def require_row(path: Path, text: str, index: object, n_vocab: int) -> None:
    """Raise `CheckpointError` for a token whose id is none of ``n_vocab`` rows."""
    if type(index) is not int or not 0 <= index < n_vocab:
        raise errors.CheckpointError(
            f"{path}: the token {text!r:.60} has the id {index!r}, but config.json's vocab_size "
            f"is {n_vocab}; they belong to different models: download both again"
        )
