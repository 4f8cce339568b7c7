"""A file of words as one text, to measure on: plain text as it is, records joined."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from qpipe.errors import DataError, nearest
from qpipe.texts.records import holds_records, read_plain, read_records

# How records become one text; goes up when it changes.
_FORM = 1

BETWEEN = "\n\n"
"""What stands between documents that are joined."""

_FIELDS = ("text", "content", "sentence")
# Names that a message lists of a record with very many; more are no help.
_NAMES = 50


@dataclass(frozen=True)
class WholeText:
    """A text, and the texts of the records that it was put together from, if it was."""

    text: str
    rows: Sequence[str] | None = None


def read(path: Path) -> WholeText:
    """A text as UTF-8, line ends as they are; of records their texts, as `joined` puts them.

    Raises DataError if it is none, not UTF-8, or has a record without a text; EngineMissingError
    for a Parquet file without pyarrow.
    """
    if not holds_records(path.name):
        return WholeText(_plain(path))
    rows = _texts(read_records(path), path.name)
    return WholeText(joined(rows), rows)


def read_text(path: Path) -> str:
    """The text alone, as `read` reads it."""
    return read(path).text


def _plain(path: Path) -> str:
    if path.suffix == ".gz":
        return read_plain(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path.name}: not UTF-8 (byte {data[error.start]:#04x} at offset {error.start}); "
            "give a plain text file in UTF-8"
        ) from None


def form(source: str) -> dict[str, int]:
    """The part of a stage's fingerprint that says how a text is read: nothing if it is plain."""
    return {"records": _FORM} if holds_records(source) else {}


def joined(texts: Sequence[str]) -> str:
    """Texts of records as one: the lines of a file put together again, documents set apart.

    Rows are lines where each that is not empty ends with the only line feed in it, as in the data
    set Salesforce/wikitext, whose rows are the lines of wiki.test.raw. There a blank line has
    become an empty row; it was a line feed alone, or with the space before it that all the other
    lines have. Documents stand `BETWEEN` apart.
    """
    lines = [text for text in texts if text]
    if not lines or not all(text.find("\n") == len(text) - 1 for text in lines):
        return BETWEEN.join(texts)
    blank = " \n" if all(line.startswith(" ") for line in lines) else "\n"
    return "".join(text or blank for text in texts)


def _texts(records: Iterable[Any], name: str) -> list[str]:
    return [_text(record, f"{name}: record {number}") for number, record in enumerate(records, 1)]


def _text(record: Any, where: str) -> str:
    if isinstance(record, Mapping):
        field = next((field for field in _FIELDS if field in record), None)
        if field is None:
            names = " or ".join(_FIELDS)
            raise DataError(
                f"{where} has no {names}, which is what is measured on; "
                + nearest(_FIELDS[0], map(str, islice(record, _NAMES)))
            )
        record = record[field]
    if not isinstance(record, str):
        raise DataError(
            f"{where} holds a {type(record).__name__}; to measure on, give a file whose records "
            "are texts"
        )
    return record
