"""A text as token ids in windows, cut as a protocol says: an artifact that all models share.

Files: ``tokens.npy`` [windows, width] and ``spans.npy`` [windows, 2], little-endian int32, and
``tokens.json``, and ``text.txt``, the prepared text, where it is one document. No tool's version is
in them: a text's equal ids give equal bytes, whatever made them. Those of an imported reference
have ``documents.json`` where there are several.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from qpipe.core.key import Json
from qpipe.errors import DataError
from qpipe.evaluators.text.interfaces import TextTokenizer, Tokens
from qpipe.evaluators.text.protocols import LEAST, PreparedDocument, Protocol, prepared

TOKENS, SPANS, ABOUT, TEXT = "tokens.npy", "spans.npy", "tokens.json", "text.txt"
DOCUMENTS = "documents.json"

Spans = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Windows:
    """``tokens`` [n_windows, width] as the model sees them, BOS in its place.

    Logits at positions ``spans[i, 0]`` … ``spans[i, 1] - 1`` of window i are used, each to predict
    the token after it; what lies behind the end is padding. ``available`` windows were in the text,
    of ``text_tokens`` tokens. ``units`` are the words or bytes that the mean is taken over, None
    for tokens.
    """

    tokens: Tokens
    spans: Spans
    available: int
    text_tokens: int
    units: int | None = None

    @property
    def first(self) -> int:
        """The first position of any window whose logits are used."""
        return int(self.spans[:, 0].min())

    @property
    def scored(self) -> int:
        """The number of tokens that are scored in all."""
        return int((self.spans[:, 1] - self.spans[:, 0]).sum())

    @property
    def sha256(self) -> str:
        """SHA-256 of token ids and spans as little-endian int32: equal if measured on the same."""
        digest = hashlib.sha256(self.tokens.astype("<i4").tobytes())
        digest.update(self.spans.astype("<i4").tobytes())
        return digest.hexdigest()

    def targets(self, window: int) -> Tokens:
        """The tokens of a window that are scored."""
        first, end = self.spans[window]
        return self.tokens[window, first + 1 : end + 1]

    def require_within(self, n_vocab: int, *, model: str) -> None:
        """Raise DataError if a token is none of the model's ``n_vocab``."""
        low, high = int(self.tokens.min()), int(self.tokens.max())
        if low < 0 or high >= n_vocab:
            raise DataError(
                f"the text was tokenized for another model: its token ids go from {low} to {high}, "
                f"and {model} has a vocabulary of {n_vocab}; measure each model on tokens of its "
                "own reference"
            )


@dataclass(frozen=True)
class About:
    """A description of the windows. ``units`` are words or bytes, None where ``unit`` is token."""

    text: str
    protocol: str
    protocol_version: int
    unit: str
    units: int | None
    n_ctx: int
    available: int
    text_tokens: int
    sha256: str


@dataclass(frozen=True)
class Tokenized:
    """Windows, and what they are of."""

    windows: Windows
    about: About

    def save(self, folder: Path) -> None:
        """Write the files."""
        np.save(folder / TOKENS, self.windows.tokens.astype("<i4"))
        np.save(folder / SPANS, self.windows.spans.astype("<i4"))
        (folder / ABOUT).write_text(json.dumps(asdict(self.about), indent=1))

    def facts(self, *, tokenizer: str | None, notes: Sequence[str]) -> dict[str, Json]:
        """Facts of an artifact that holds these; ``tokenizer`` is the software that made them."""
        windows, about = self.windows, self.about
        return {
            "protocol": about.protocol,
            "text": about.text,
            "tokens": int(windows.tokens.size),
            "tokens_scored": windows.scored,
            "tokens_in_text": windows.text_tokens,
            "tokens_sha256": about.sha256,
            "windows": len(windows.tokens),
            "available": windows.available,
            "tokenizer": tokenizer,
            "notes": [*notes],
        }

    def require_same(self, reference: Tokenized, *, model: str) -> None:
        """Raise DataError, with the first place, unless a reference has the same tokens."""
        ours, theirs = self.windows.tokens.ravel(), reference.windows.tokens.ravel()
        if self.about.sha256 == reference.about.sha256:
            return
        least = min(len(ours), len(theirs))
        place = int(np.append(np.flatnonzero(ours[:least] != theirs[:least]), least)[0])
        shown = ", ".join(map(str, ours[place : place + 5])) or "none"
        other = ", ".join(map(str, theirs[place : place + 5])) or "none"
        raise DataError(
            f"the tokenizer of {model} is not that of run.reference: from token {place} on "
            f"{self.about.text} is {shown} by the one and {other} by the other, so that figures of "
            "both would be of two texts; give the model's own original as run.reference, or leave "
            "it out"
        )


def save_documents(folder: Path, documents: Sequence[str]) -> None:
    """Write the prepared text that the windows were cut from."""
    if len(documents) == 1:
        (folder / TEXT).write_bytes(documents[0].encode())
    else:
        (folder / DOCUMENTS).write_text(json.dumps([*documents]))


def load_documents(folder: Path) -> list[str] | None:
    """The prepared text of an artifact; None where it has not kept it."""
    if (folder / TEXT).exists():
        return [(folder / TEXT).read_bytes().decode()]
    if (folder / DOCUMENTS).exists():
        return [str(each) for each in json.loads((folder / DOCUMENTS).read_bytes())]
    return None


def load(folder: Path) -> Tokenized:
    """Read the files of an artifact."""
    about = About(**json.loads((folder / ABOUT).read_bytes()))
    windows = Windows(
        np.load(folder / TOKENS),
        np.load(folder / SPANS),
        about.available,
        about.text_tokens,
        about.units,
    )
    return Tokenized(windows, about)


def tokenize(
    text: str,
    tokenizer: TextTokenizer,
    protocol: Protocol,
    *,
    name: str,
    rows: Sequence[str] | None = None,
) -> Tokenized:
    """Cut a text; ``name`` is what reports call it, ``rows`` as in `prepared`.

    Raises DataError for an unusable text.
    """
    return _tokenized(cut(text, tokenizer, protocol, rows=rows), protocol, name)


def tokenize_again(
    documents: Sequence[str], tokenizer: TextTokenizer, protocol: Protocol, *, like: About
) -> Tokenized:
    """Cut the documents that another tokenizer's windows, ``like`` these, were cut from.

    Raises DataError where this tokenizer makes no window of them.
    """
    texts = [PreparedDocument(document, 0, 0) for document in documents]
    windows = replace(_cut(texts, tokenizer, protocol), units=like.units)
    return _tokenized(windows, protocol, like.text)


def _tokenized(windows: Windows, protocol: Protocol, name: str) -> Tokenized:
    about = About(
        text=name,
        protocol=protocol.label,
        protocol_version=protocol.version,
        unit=protocol.unit,
        units=windows.units,
        n_ctx=protocol.n_ctx,
        available=windows.available,
        text_tokens=windows.text_tokens,
        sha256=windows.sha256,
    )
    return Tokenized(windows, about)


def cut(
    text: str,
    tokenizer: TextTokenizer,
    protocol: Protocol,
    *,
    rows: Sequence[str] | None = None,
) -> Windows:
    """Tokenize each document of the prepared text once and cut it; ``rows`` as in `prepared`.

    Raises DataError if the text is empty or has fewer tokens than one window.
    """
    return _cut(prepared(protocol, text, rows), tokenizer, protocol)


def _cut(
    documents: Sequence[PreparedDocument], tokenizer: TextTokenizer, protocol: Protocol
) -> Windows:
    if not any(document.text for document in documents):
        raise DataError("the text to measure is empty: give a text with evaluate.text")
    if protocol.scored == "rolling":
        return _rolling(documents, tokenizer, protocol)
    (document,) = documents
    tokens = tokenizer.tokenize(document.text)
    if protocol.text_bos and tokenizer.bos is not None:
        tokens = np.concatenate([np.array([tokenizer.bos], np.int32), tokens])
    prepend = protocol.bos == "prepend" and tokenizer.bos is not None
    size = protocol.n_ctx - prepend
    stride = protocol.stride or size
    available = (len(tokens) - size) // stride + 1 if len(tokens) >= size else 0
    if not available:
        less = len(tokens) + prepend
        remedy = f", or set evaluate.n_ctx to {less} or less" if less >= LEAST else ""
        raise DataError(
            f"the text has {len(tokens)} tokens, and one window of protocol {protocol.label} needs "
            f"{size}: give a longer text{remedy}"
        )
    count = min(available, protocol.chunks or available)
    cuts = np.lib.stride_tricks.sliding_window_view(tokens, size)[::stride][:count]
    spans = np.tile(np.array([protocol.first, protocol.n_ctx - 1], np.int32), (count, 1))
    return Windows(_with_bos(cuts, protocol, tokenizer.bos), spans, available, len(tokens))


def _with_bos(cuts: Tokens, protocol: Protocol, bos: int | None) -> Tokens:
    if bos is None or protocol.bos == "none":
        return np.ascontiguousarray(cuts)
    if protocol.bos == "prepend":
        return np.insert(cuts, 0, bos, axis=1)
    replaced = cuts.copy()
    replaced[:, 0] = bos
    return replaced


def _rolling(
    documents: Sequence[PreparedDocument], tokenizer: TextTokenizer, protocol: Protocol
) -> Windows:
    """Cut documents as lm-eval's `get_rolling_token_windows` does with one token of context."""
    rows, spans, total = [], [], 0
    for document in documents:
        tokens = tokenizer.tokenize(document.text)
        total += len(tokens)
        for row, span in _rolled(tokens, prefix=tokenizer.prefix, n_ctx=protocol.n_ctx):
            rows.append(row)
            spans.append(span)
    units = sum(d.words if protocol.unit == "word" else d.bytes for d in documents)
    # The model is given n_ctx tokens at most: the last one of a row is only predicted.
    tokens = np.zeros((len(rows), max(map(len, rows))), np.int32)
    for index, row in enumerate(rows):
        tokens[index, : len(row)] = row
    return Windows(tokens, np.array(spans, np.int32), len(rows), total, units)


def _rolled(tokens: Tokens, *, prefix: int, n_ctx: int) -> Iterator[tuple[Tokens, tuple[int, int]]]:
    head = tokens[:n_ctx]
    yield np.concatenate([np.array([prefix], np.int32), head]), (0, len(head))
    for at in range(n_ctx, len(tokens), n_ctx):
        end = min(at + n_ctx, len(tokens))
        yield tokens[end - n_ctx - 1 : end], (n_ctx - (end - at), n_ctx)
