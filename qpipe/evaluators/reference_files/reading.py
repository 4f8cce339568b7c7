"""Read a reference file: its tensors, each block checked against its digest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from qpipe.errors import DataError
from qpipe.evaluators.reference_files.header import FileHeader
from qpipe.evaluators.reference_files.layout import (
    BLOCK,
    DISTRIBUTIONS,
    LIKELIEST,
    NLL,
    SPANS,
    TEXT,
    TEXT_ENDS,
    WINDOWS,
)
from qpipe.evaluators.reference_files.writing import documents_sha256
from qpipe.evaluators.text.protocols import PROTOCOLS
from qpipe.evaluators.text.reference import MappedField
from qpipe.evaluators.text.windows import About, Tokenized, Windows

Array = npt.NDArray[Any]
Progress = Callable[[int, int], None]
"""Takes bytes read, and of how many."""

_CHUNK = 1 << 20


def check(
    file: FileHeader, *, threads: int = 1, progress: Progress = lambda done, total: None
) -> None:
    """Read every byte of the data. Raises DataError for one that was changed, naming where."""
    blocks = [
        (name, number) for name, digests in file.blocks.items() for number in range(len(digests))
    ]
    done, total = 0, file.size - file.start
    with ThreadPoolExecutor(max(1, min(threads, len(blocks)))) as pool:
        sizes = pool.map(lambda block: _check_block(file, *block), blocks)
        for size in sizes:
            done += size
            progress(done, total)


def _check_block(file: FileHeader, name: str, number: int) -> int:
    """The size of a block that is whole."""
    span = file.tensors[name]
    first = file.start + span.offset + number * BLOCK
    size = min(BLOCK, span.size - number * BLOCK)
    digest, left = hashlib.sha256(), size
    buffer = memoryview(bytearray(_CHUNK))
    with file.path.open("rb", buffering=0) as opened:
        opened.seek(first)
        while left and (count := opened.readinto(buffer[: min(left, _CHUNK)])):  # type: ignore[attr-defined,unused-ignore]
            digest.update(buffer[:count])
            left -= count
    if digest.hexdigest() != file.blocks[name][number]:
        raise DataError(
            f"{file.path}: this reference file is damaged: bytes {first:,} to {first + size:,} "
            f"(tensor {name!r}) are not those that were written; get it again"
        )
    return size


def tensor(file: FileHeader, name: str) -> Array:
    """A tensor, mapped and not read."""
    span = file.tensors[name]
    if not span.size:
        return np.zeros(span.shape, span.numpy_dtype)
    return np.memmap(
        file.path, span.numpy_dtype, "r", offset=file.start + span.offset, shape=span.shape
    )


def tokenized(file: FileHeader, *, chunks: int | None = None) -> Tokenized:
    """The windows of a file, or the first ``chunks`` of them. Raises DataError for windows that
    the file's own numbers do not fit to."""
    said = file.about.protocol
    count = min(chunks or said.windows, said.windows)
    tokens = np.array(tensor(file, WINDOWS)[:count], np.int32)
    parts = np.array(tensor(file, SPANS), np.int32)
    whole = Windows(np.array(tensor(file, WINDOWS), np.int32), parts, said.available, 0)
    width = tokens.shape[1]
    if (
        (parts[:, 0] < 0).any()
        or (parts[:, 1] <= parts[:, 0]).any()
        or (parts[:, 1] >= width).any()
    ):
        raise _unfit(file, "its windows score tokens that they have not")
    if whole.scored != said.scored or whole.sha256 != said.tokens_sha256:
        raise _unfit(file, "its windows are not those that its header tells of")
    whole.require_within(file.about.stored.n_vocab, model=file.about.model.name)
    protocol = PROTOCOLS[said.name].with_overrides(
        n_ctx=said.n_ctx, chunks=said.chunks if count == said.windows else count
    )
    windows = Windows(tokens, parts[:count], said.available, said.text_tokens, said.units)
    about = About(
        text=file.about.text.name,
        protocol=protocol.label,
        protocol_version=said.version,
        unit=said.unit,
        units=said.units,
        n_ctx=said.n_ctx,
        available=said.available,
        text_tokens=said.text_tokens,
        sha256=windows.sha256,
    )
    return Tokenized(windows, about)


def columns(file: FileHeader, name: str) -> dict[str, MappedField]:
    """Places of the distributions' fields in a file of this name; fields are called as in
    `qpipe.evaluators.text.distributions`."""
    fields = {n: span for n, span in file.tensors.items() if n in DISTRIBUTIONS}
    return {
        "tokens" if n == LIKELIEST else n: MappedField(
            name, span.numpy_dtype.str, span.shape, file.start + span.offset
        )
        for n, span in fields.items()
    }


def nll(file: FileHeader, scored: int) -> npt.NDArray[np.float64]:
    """The negative log-likelihoods of the first so many tokens. Raises DataError for what is no
    number."""
    values = np.array(tensor(file, NLL)[:scored], np.float64)
    if not np.isfinite(values).all():
        raise _unfit(file, "a likelihood in it is no number")
    return values


def documents(file: FileHeader) -> list[str] | None:
    """The documents of the text, if the file carries them. Raises DataError for others than those
    whose digest it has."""
    if not file.about.text.carried:
        return None
    data, ends = tensor(file, TEXT).tobytes(), tensor(file, TEXT_ENDS)
    starts = [0, *ends.tolist()]
    if starts != sorted(starts) or starts[-1] != len(data):
        raise _unfit(file, "its documents do not follow each other")
    try:
        texts = [data[first:end].decode() for first, end in pairwise(starts)]
    except UnicodeDecodeError:
        raise _unfit(file, "its text is not UTF-8") from None
    if documents_sha256(texts) != file.about.text.sha256:
        raise _unfit(file, "its text has another digest than its header says")
    return texts


def _unfit(file: FileHeader, problem: str) -> DataError:
    return DataError(f"{file.path}: this reference file is wrong: {problem}; have it exported anew")
