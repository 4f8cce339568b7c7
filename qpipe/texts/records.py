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
        raw: Any = gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # noqa: SIM115
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
    records = _parsed(first + file.read(), path.name)
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
            for batch in file.iter_batches(batch_size=_ROWS):
                yield from batch.to_pylist()
    except (ArrowInvalid, OSError) as error:
        raise DataError(f"{path.name}: no usable Parquet file: {error}") from None
