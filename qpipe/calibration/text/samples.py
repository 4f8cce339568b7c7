"""Texts and data sets → samples of token ids, and the file in which engines are given them."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qpipe.calibration.text import documents
from qpipe.calibration.text.documents import Document, in_template
from qpipe.errors import DataError
from qpipe.gguf.config import Config

CALIBRATION_FILE = "calibration.json"
"""``{"samples": [[token id, …], …]}``"""

_POOL = 8
# The least calibration.length (CalibrateParams).
_SHORTEST = 8


@dataclass(frozen=True)
class Samples:
    """``available`` tokens were read, of ``documents``; ``context`` is what the model was
    trained for, if it says so; ``note`` is the tokenizer's (`qpipe.hf.tokenizer`)."""

    samples: list[list[int]]
    available: int
    documents: int
    context: int | None
    note: str | None

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
    date: str | None,
    samples: int,
    length: int,
    seed: int,
) -> Samples:
    """At most ``samples`` windows of ``length`` tokens, in the order of the text.

    If the text has more, ``seed`` chooses. Of a large data set only the beginning is read, in whole
    documents: `_POOL` times as many tokens as are wanted. ``date`` is the day that a chat template
    is told. Raises CheckpointError (the tokenizer), DataError (a text without one window).
    """
    from qpipe.hf.tokenizer import read_tokenizer

    opened = read_tokenizer(tokenizer)
    loaded = opened.tokenizer
    read = documents.read(text, field=field)
    if chat_template:
        pieces = in_template(read, _template(loaded), loaded.special_tokens_map, day=date)
    else:
        pieces = _plain(read, text)
    stream: list[int] = []
    count = 0
    for piece in pieces:
        # verbose: transformers 5.17 warns of a piece that is longer than the model's context.
        stream += loaded(piece, add_special_tokens=False, verbose=False)["input_ids"]
        count += 1
        if len(stream) >= _POOL * samples * length:
            break
    bos = _bos(loaded)
    width = length - len(bos)
    windows = [stream[at : at + width] for at in range(0, len(stream) - width + 1, width)]
    if not windows:
        raise DataError(
            f"{text.name}: has {len(stream)} tokens, and one sample needs {width}; give a longer "
            "text" + (", or set calibration.length to less" if len(stream) > _SHORTEST else "")
        )
    if len(windows) > samples:
        chosen = sorted(random.Random(seed).sample(range(len(windows)), samples))
        windows = [windows[index] for index in chosen]
    return Samples(
        [[*bos, *window] for window in windows],
        available=len(stream),
        documents=count,
        context=_context(tokenizer),
        note=opened.note,
    )


def _plain(read: Iterable[Document], text: Path) -> Iterator[str]:
    for document in read:
        if document.messages is not None:
            raise DataError(
                f"{text.name}: its records are messages; set calibration.chat_template=true"
            )
        yield document.text


def _template(loaded: Any) -> str | None:
    """The default one where a tokenizer has several."""
    if not loaded.chat_template:
        return None
    try:
        template: str = loaded.get_chat_template()
    except ValueError as error:  # transformers 5.17: several, of which none is the default
        raise DataError(f"calibration.chat_template: {error}") from None
    return template


def _bos(loaded: Any) -> list[int]:
    """The BOS id that the tokenizer puts in front of a text, as a list; empty if it puts none."""
    with_special: list[int] = loaded("a")["input_ids"]
    bos = loaded.bos_token_id
    return [bos] if bos is not None and with_special[:1] == [bos] else []


def _context(folder: Path) -> int | None:
    context = Config.read(folder).fields.get("max_position_embeddings")
    return context if isinstance(context, int) else None


def token_ids(artifact: Path) -> list[list[int]]:
    """The token ids [samples][tokens] in the artifact of a calibration."""
    samples: list[list[int]] = json.loads((artifact / CALIBRATION_FILE).read_bytes())["samples"]
    return samples
