"""Texts and data sets → samples of token ids."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qpipe.calibration.documents import Document, read
from qpipe.errors import DataError
from qpipe.gguf.config import Config

_POOL = 8


@dataclass(frozen=True)
class Samples:
    """``available`` tokens were read, of ``documents``; ``context`` is what the model was
    trained for, if it says so."""

    samples: list[list[int]]
    available: int
    documents: int
    context: int | None

    @property
    def tokens(self) -> int:
        """In all samples."""
        return sum(map(len, self.samples))


def make(
    text: Path,
    *,
    tokenizer: Path,
    field: str | None,
    chat_template: bool,
    samples: int,
    length: int,
    seed: int,
) -> Samples:
    """At most ``samples`` windows of ``length`` tokens, in the order of the text.

    If the text has more, ``seed`` chooses. Of a large data set only the beginning is read, in whole
    documents: `_POOL` times as many tokens as are wanted. Raises DataError if it has not one.
    """
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(tokenizer, local_files_only=True)
    documents = read(text, field=field)
    stream: list[int] = []
    count = 0
    for piece in _tokenized(documents, loaded, text=text, chat_template=chat_template):
        stream += piece
        count += 1
        if len(stream) >= _POOL * samples * length:
            break
    bos = _bos(loaded)
    width = length - len(bos)
    windows = [stream[at : at + width] for at in range(0, len(stream) - width + 1, width)]
    if not windows:
        raise DataError(
            f"{text.name}: has {len(stream)} tokens, and one sample needs {width}; give a longer "
            "text, or set calibration.length to less"
        )
    if len(windows) > samples:
        chosen = sorted(random.Random(seed).sample(range(len(windows)), samples))
        windows = [windows[index] for index in chosen]
    return Samples(
        [[*bos, *window] for window in windows],
        available=len(stream),
        documents=count,
        context=_context(tokenizer),
    )


def _tokenized(
    documents: Iterable[Document], loaded: Any, *, text: Path, chat_template: bool
) -> Iterator[list[int]]:
    if chat_template and loaded.chat_template is None:
        raise DataError(
            "calibration.chat_template: the model's tokenizer has no chat template; set it to false"
        )
    for document in documents:
        if chat_template:
            messages = document.messages or [{"role": "user", "content": document.text}]
            plain = loaded.apply_chat_template(messages, tokenize=False)
        elif document.messages is not None:
            raise DataError(
                f"{text.name}: its records are messages; set calibration.chat_template=true"
            )
        else:
            plain = document.text
        yield loaded(plain, add_special_tokens=False, verbose=False)["input_ids"]


def _bos(loaded: Any) -> list[int]:
    """What the tokenizer puts in front of a text."""
    with_special: list[int] = loaded("a")["input_ids"]
    bos = loaded.bos_token_id
    return [bos] if bos is not None and with_special[:1] == [bos] else []


def _context(folder: Path) -> int | None:
    found = Config.read(folder).fields.get("max_position_embeddings")
    return found if isinstance(found, int) else None
