"""The records of a data set's file: JSON lines, JSON or Parquet, as they stand there."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import IO, Any

from qpipe.errors import DataError, EngineMissingError
from qpipe.support import extras

PARQUET = ".parquet"
_LINES = (".jsonl", ".ndjson")
# Rows of a Parquet file in memory at a time.
_ROWS = 1000

MOST_TIMES, MOST_AT_LEAST = 100, 64 << 20
"""What is compressed may come to so many times its size, and in any case to so many bytes: texts
come to some three to ten times."""

MOST_LIST = 1 << 30
"""Bytes of a .json file that is one list; lines, and Parquet, are read a few at a time."""
# Characters of one that are read at a time.
_PIECE = 1 << 20
_RECORDS = (*_LINES, ".json", PARQUET)


def kind(name: str) -> str:
    """The end of a file's name that says what is in it, as ``.json`` of ``c4-train.json.gz``."""
    return PurePosixPath(name.removesuffix(".gz")).suffix.lower()


def holds_records(name: str) -> bool:
    """True if a file of this name is one of records, and no plain text."""
    return kind(name) in _RECORDS


def parquet_missing(name: str) -> str | None:
    """Why a Parquet file cannot be read here, with the command that helps, or None."""
    from importlib.util import find_spec

    if find_spec("pyarrow") is not None:
        return None
    return f"reading {name} needs pyarrow, which is not installed: {extras.command('data')}"


def read_records(path: Path) -> Iterator[Any]:
    """The records of a file that `holds_records`, also with .gz behind.

    A .json file is a list of records, or JSON lines under that name. A byte order mark is passed
    over. Raises DataError, naming the line; EngineMissingError without pyarrow.
    """
    suffix = kind(path.name)
    if suffix == PARQUET:
        yield from _parquet(path)
        return
    with _our_errors(path), _open(path) as file:
        yield from _lines(file, path) if suffix in _LINES else _json(file, path)


def read_plain(path: Path) -> str:
    """A plain text as UTF-8, also with .gz behind, without a byte order mark. Raises DataError."""
    with _our_errors(path), _open(path) as file:
        return file.read()


class _Bounded(io.RawIOBase):
    """The bytes of a compressed file, up to a bound that hangs on its size."""

    def __init__(self, path: Path) -> None:
        self._name = path.name
        self._most = max(MOST_AT_LEAST, MOST_TIMES * path.stat().st_size)
        self._read = 0
        self._file = gzip.open(path)  # noqa: SIM115  # closed with this

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._file.readinto(buffer)
        self._read += count
        if self._read > self._most:
            raise DataError(
                f"{self._name}: comes to more than {self._most:,} bytes, {MOST_TIMES} times what "
                "it is compressed, as no text does; give it uncompressed if it is one"
            )
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


@contextlib.contextmanager
def _our_errors(path: Path) -> Iterator[None]:
    """Turn what reading a file raises into a DataError that says what to do."""
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path.name}: no usable gzip file: {error}") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path.name}: not UTF-8 ({error.reason}: byte {error.object[error.start]:#04x}); "
            "save it as UTF-8"
        ) from None


def _open(path: Path) -> IO[str]:
    """Its text, in lines that end with a line feed: others, such as U+2028, may stand in JSON."""
    try:
        packed = path.suffix == ".gz"
        raw: Any = io.BufferedReader(_Bounded(path)) if packed else path.open("rb")
    except OSError as error:
        raise DataError(f"{path.name}: cannot be read: {error.strerror}") from None
    return io.TextIOWrapper(raw, encoding="utf-8-sig", newline="\n")


def _lines(lines: Iterable[str], path: Path) -> Iterator[Any]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield _parsed(line, f"{path.name}:{number}")


def _json(file: IO[str], path: Path) -> Iterable[Any]:
    """Records of a list, or of lines, such as C4's files on the hub are."""
    first = next((line for line in file if line.strip()), "")
    if first.lstrip().startswith("{"):
        try:
            json.loads(first)
        except (ValueError, RecursionError):
            pass  # one object over several lines
        else:
            return _lines(chain([first], file), path)
    pieces, length = [first], len(first)
    # One read of MOST_LIST would take so much memory at once, however short the file is.
    for piece in iter(lambda: file.read(_PIECE), ""):
        pieces.append(piece)
        length += len(piece)
        if length > MOST_LIST:
            raise DataError(
                f"{path.name}: a list of more than {MOST_LIST:,} characters; save its records as "
                "JSON lines (.jsonl), which are read one by one"
            )
    records = _parsed("".join(pieces), path.name)
    if not isinstance(records, list):
        raise DataError(f"{path.name}: holds a {type(records).__name__}, not a list of records")
    return records


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise DataError(f"{where}: no JSON: {error}") from None
    except RecursionError:
        raise DataError(f"{where}: no usable JSON: nested too deep") from None


def _parquet(path: Path) -> Iterator[Any]:
    if problem := parquet_missing(path.name):
        raise EngineMissingError(problem)
    from pyarrow import ArrowInvalid, parquet

    try:
        with parquet.ParquetFile(path) as file:
            _check_parquet(path, file.metadata)
            for batch in file.iter_batches(batch_size=_ROWS):
                yield from batch.to_pylist()
    except (ArrowInvalid, OSError) as error:
        raise DataError(f"{path.name}: no usable Parquet file: {error}") from None


def _check_parquet(path: Path, metadata: Any) -> None:
    """Raises DataError for row groups that claim more than a file of this size holds of text."""
    most = max(MOST_AT_LEAST, MOST_TIMES * path.stat().st_size)
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    if (claimed := sum(max(0, group.total_byte_size) for group in groups)) > most:
        raise DataError(
            f"{path.name}: says that it comes to {claimed:,} bytes, more than {MOST_TIMES} times "
            "what it is compressed, as no text does; save it as JSON lines if it is one"
        )
