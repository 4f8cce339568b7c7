"""A reference file's token ids beside a model's vocabulary, before either is measured.

A model whose tokenizer gives these ids of this text spells with them what stands in the text. The
vocabulary tells, which is in a GGUF file's header or beside a checkpoint's weights; no tokenizer is
needed. Letters and digits are compared, whatever a normalizer does to case, accents and spaces, and
windows with tokens that stand for no text of their own are passed over. A vocabulary that spells
the text may still cut it otherwise, which measuring finds.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from qpipe.errors import DataError, QpipeError
from qpipe.evaluators.reference_files import reading
from qpipe.evaluators.reference_files.about import short_source
from qpipe.evaluators.reference_files.header import FileHeader
from qpipe.gguf import reader, values, vocab
from qpipe.gguf.config import Config
from qpipe.gguf.vocab.base import TokenType
from qpipe.llamacpp.coverage import byte_letter

_PREFIX = "tokenizer.ggml."
_BYTE_LEVEL, _SENTENCEPIECE = "gpt2", "llama"
_LETTERS = {byte_letter(byte): byte for byte in range(256)}

# Windows that are looked at, from the first, and how many of these have to be spelled otherwise;
# letters that one must have, and characters of the text among which they are.
_LOOKED_AT, _ENOUGH, _LEAST, _MOST = 16, 4, 16, 4 << 20


@dataclass(frozen=True)
class SpellingTokens:
    """The tokens of a model as GGUF has them: llama.cpp's name of their kind, texts, and types."""

    kind: str
    texts: Sequence[str]
    types: Sequence[int]

    def spelled(self, ids: Sequence[int]) -> str | None:
        """The text that tokens spell; None where one stands for no text of its own."""
        parts = [self._bytes(each) for each in ids]
        known = [each for each in parts if each is not None]
        # Both ends may be in the middle of a character.
        return b"".join(known).decode("utf-8", "ignore") if len(known) == len(parts) else None

    def _bytes(self, token: int) -> bytes | None:
        text = self.texts[token]
        kind = self.types[token] if self.types else TokenType.NORMAL
        if self.kind == _SENTENCEPIECE and (byte := re.fullmatch("<0x([0-9A-F]{2})>", text)):
            return bytes.fromhex(byte[1])  # whatever type a file without types has for it
        if kind != TokenType.NORMAL or "\ufffd" in text:
            return None
        if self.kind == _SENTENCEPIECE:
            return text.replace("\u2581", " ").encode()
        if not _LETTERS.keys() >= {*text}:
            return None
        return bytes(_LETTERS[letter] for letter in text)


def require(file: FileHeader, folder: Path) -> None:
    """Raise DataError if the model in ``folder`` cannot have the tokenizer of a reference file.

    Nothing is said of a vocabulary of another kind, of files that are damaged, which others say, or
    without the text.
    """
    vocabulary = _vocabulary(folder)
    if vocabulary is None:
        return
    try:
        windows = reading.tokenized(file).windows
        documents = reading.documents(file) or []
    except DataError:
        return
    highest = int(windows.tokens.max())
    if highest >= len(vocabulary.texts):
        raise _other(
            file,
            folder,
            f"there are ids up to {highest:,}, and it has {len(vocabulary.texts):,} tokens",
        )
    spelled: list[str] = []
    text = _squashed("\n".join(documents)[:_MOST])
    if re.search(r"[\x00-\x08\x0e-\x1b]", text):  # which a normalizer may take away
        return
    for ids, (_, end) in zip(windows.tokens[:_LOOKED_AT], windows.spans, strict=False):
        # BOS, and what begins a text, where a space may be put or taken.
        words = vocabulary.spelled(ids[2 : end + 1].tolist())
        if words is None or len(letters := _squashed(words)) < _LEAST:
            continue
        if not text or letters in text:
            return
        spelled.append(words)
        if len(spelled) == _ENOUGH:
            break
    if spelled:
        raise _other(
            file,
            folder,
            f"its ids are {spelled[0][:40]!r} in that vocabulary, and the text begins with "
            f"{documents[0][:40]!r}",
        )


def _squashed(text: str) -> str:
    """The letters and digits of a text, without case and accents, and its control characters, which
    bytes are that another vocabulary has for letters."""
    return re.sub(r"[^\w\x00-\x08\x0e-\x1b]|_", "", unicodedata.normalize("NFKD", text).casefold())


def _other(file: FileHeader, folder: Path, why: str) -> DataError:
    model = file.about.model
    source = f" ({short})" if (short := short_source(model.source)) else ""
    return DataError(
        f"{folder}: its tokenizer is not that of {file.path.name}, which is of {model.name}"
        f"{source}: {why}; figures of both would be of two texts: measure it against a reference "
        "file of its own original"
    )


@lru_cache(maxsize=2)
def _vocabulary(folder: Path) -> SpellingTokens | None:
    """The vocabulary of the model in ``folder``; None where it cannot be had, or is of another
    kind."""
    try:
        fields = _metadata(folder)
        kind, texts, types = (
            values.decode(fields[_PREFIX + name]) if _PREFIX + name in fields else None
            for name in ("model", "tokens", "token_type")
        )
    except QpipeError:
        return None
    if kind not in (_BYTE_LEVEL, _SENTENCEPIECE) or not isinstance(texts, list):
        return None
    named: Any = types if isinstance(types, list) else []
    if named and len(named) != len(texts):
        return None
    return SpellingTokens(str(kind), [*map(str, texts)], named)


def _metadata(folder: Path) -> values.Metadata:
    files = sorted(folder.glob("*.gguf"))
    if files:
        return reader.read(files[0], any_type=True).metadata
    config = Config.read(folder).text()
    return vocab.metadata(folder, config.integer("vocab_size"), model_class=config.model_class)
