"""The documents of a calibration text: plain text, or records of JSON lines, JSON or Parquet."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qpipe.errors import DataError, nearest

_FIELDS = ("text", "content", "messages", "conversations")


@dataclass(frozen=True)
class Document:
    """A text, or the messages of a conversation."""

    text: str = ""
    messages: list[dict[str, str]] | None = None

    @property
    def plain(self) -> str:
        """Its words, without a template."""
        return "\n".join(m["content"] for m in self.messages) if self.messages else self.text


def read(path: Path, *, field: str | None) -> Iterator[Document]:
    """The documents of a .jsonl, .ndjson, .json or .parquet file, also with .gz behind; any other
    file is one document.

    ``field`` names a record's text or messages; None: the first of text, content, messages and
    conversations that it has. Raises DataError, naming the record.
    """
    name = path.name.removesuffix(".gz")
    suffix = Path(name).suffix.lower()
    if suffix == ".parquet":
        yield from _documents(_parquet(path), field, path)
        return
    data = _text(path)
    if suffix in (".jsonl", ".ndjson"):
        yield from _documents(_lines(data, path), field, path)
    elif suffix == ".json":
        yield from _documents(_array(data, path), field, path)
    else:
        yield Document(data)


def _text(path: Path) -> str:
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        return data.decode()
    except (gzip.BadGzipFile, EOFError) as error:
        raise DataError(f"{path.name}: no usable gzip file: {error}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name}: not UTF-8 (at offset {error.start})") from None


def _lines(text: str, path: Path) -> Iterator[Any]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError as error:
                raise DataError(f"{path.name}:{number}: no JSON: {error}") from None


def _array(text: str, path: Path) -> Iterable[Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise DataError(f"{path.name}: no JSON: {error}") from None
    if not isinstance(found, list):
        raise DataError(f"{path.name}: holds a {type(found).__name__}, not a list of records")
    return found


def _parquet(path: Path) -> Iterator[Any]:
    from pyarrow import ArrowInvalid, parquet

    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                yield from batch.to_pylist()
    except ArrowInvalid as error:
        raise DataError(f"{path.name}: no usable Parquet file: {error}") from None


def _documents(records: Iterable[Any], field: str | None, path: Path) -> Iterator[Document]:
    for number, record in enumerate(records, 1):
        if isinstance(record, str):
            yield Document(record)
            continue
        if not isinstance(record, Mapping):
            raise DataError(f"{path.name}: record {number} is a {type(record).__name__}")
        name = field or next((known for known in _FIELDS if known in record), None)
        if name is None or name not in record:
            wanted = field or " or ".join(_FIELDS)
            raise DataError(
                f"{path.name}: record {number} has no {wanted}; calibration.field: "
                + nearest(wanted, map(str, record))
            )
        yield _document(record[name], f"{path.name}: record {number}, field {name!r}")


def _document(value: Any, where: str) -> Document:
    if isinstance(value, str):
        return Document(value)
    if isinstance(value, list) and all(isinstance(turn, Mapping) for turn in value):
        return Document(messages=[_turn(turn, where) for turn in value])
    raise DataError(f"{where}: is a {type(value).__name__}, neither text nor messages")


def _turn(turn: Mapping[str, Any], where: str) -> dict[str, str]:
    """A message, also in ShareGPT's words (from, value)."""
    role = turn.get("role", turn.get("from"))
    content = turn.get("content", turn.get("value"))
    if not isinstance(role, str) or not isinstance(content, str):
        raise DataError(f"{where}: a message has no role or no content")
    return {"role": {"human": "user", "gpt": "assistant"}.get(role, role), "content": content}
