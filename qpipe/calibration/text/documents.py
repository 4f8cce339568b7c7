"""The documents of a calibration text, and their words in a model's own chat template.

A text is plain, or records of JSON lines, JSON or Parquet.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from qpipe.errors import DataError, nearest
from qpipe.hf.chat import Template
from qpipe.texts.records import holds_records, read_plain, read_records

_FIELDS = ("text", "content", "messages", "conversations")
# Names that a message lists of a record with very many; more are no help.
_NAMES = 50
_SURROGATE = re.compile("[\ud800-\udfff]")
_SHAREGPT = ("from", "value")
_ROLES = {"human": "user", "gpt": "assistant"}


@dataclass(frozen=True)
class Document:
    """A text, or the messages of a conversation, with the tools that it was about if it names any.

    A message is as chat templates take it: ``role``, ``content`` (a text, a list of parts, or None
    beside ``tool_calls``), and whatever else it has.
    """

    text: str = ""
    messages: Sequence[Mapping[str, Any]] | None = None
    tools: Sequence[Any] | None = None

    @property
    def plain(self) -> str:
        """Its words, without a template."""
        if not self.messages:
            return self.text
        return "\n".join(words for m in self.messages if (words := _words(m.get("content"))))


def read(path: Path, *, field: str | None) -> Iterator[Document]:
    """The documents of a .jsonl, .ndjson, .json or .parquet file, also with .gz behind; any other
    file is one document.

    A .json file is a list of records, or JSON lines under that name. ``field`` names a record's
    text or messages; None: the first of text, content, messages and conversations in which there is
    something. A byte order mark is passed over. Raises DataError, naming the record, and
    EngineMissingError for a Parquet file without pyarrow.
    """
    if holds_records(path.name):
        yield from _documents(read_records(path), field, path)
        return
    text = read_plain(path)
    if field is not None:
        raise DataError(
            f"calibration.field={field}: {path.name} is plain text and has no fields "
            "(records are .jsonl, .json or .parquet); leave it null"
        )
    yield Document(_valid(text, path.name))


def beginning(documents: Iterable[Document], characters: int) -> Iterator[Document]:
    """The first documents, whole, until they have so many characters in all: data sets may have
    more than anyone looks at."""
    read = 0
    for document in documents:
        yield document
        read += len(document.plain)
        if read >= characters:
            return


def _documents(records: Iterable[Any], field: str | None, path: Path) -> Iterator[Document]:
    for number, record in enumerate(records, 1):
        where = f"{path.name}: record {number}"
        if isinstance(record, str):
            yield Document(_valid(record, where))
            continue
        if not isinstance(record, Mapping):
            raise DataError(f"{where} is a {type(record).__name__}")
        name = field or _chosen(record)
        if name is None or name not in record:
            names = field or " or ".join(_FIELDS)
            raise DataError(
                f"{where} has no {names}; calibration.field: "
                + nearest(names, map(str, islice(record, _NAMES)))
            )
        tools = record.get("tools")
        yield _document(record[name], tools, f"{where}, field {name!r}", _others(record, name))


def _chosen(record: Mapping[Any, Any]) -> str | None:
    """The first known field with something in it, else the first."""
    fields = [field for field in _FIELDS if field in record]
    return next((name for name in fields if record[name]), fields[0] if fields else None)


def _others(record: Mapping[Any, Any], name: str) -> str:
    """A hint at another field that could be named instead; empty if there is none."""
    names = [field for field in _FIELDS if field != name and record.get(field)]
    return f"; calibration.field={names[0]} has something" if names else ""


def _document(value: Any, tools: Any, where: str, others: str) -> Document:
    if value is None:
        raise DataError(f"{where}: is null{others or '; take such records out'}")
    if isinstance(value, str):
        return Document(_valid(value, where))
    if isinstance(value, list) and all(isinstance(turn, Mapping) for turn in value):
        _valid(value, where)
        messages = [_turn(turn, where) for turn in value]
        return Document(messages=messages, tools=tools if isinstance(tools, list) else None)
    raise DataError(f"{where}: is a {type(value).__name__}, neither text nor messages{others}")


def _turn(turn: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """A message, also in ShareGPT's words (from, value)."""
    role = turn.get("role", turn.get("from"))
    content = turn.get("content", turn.get("value"))
    if not isinstance(role, str):
        raise DataError(f"{where}: a message has no role")
    parts = isinstance(content, list) and all(isinstance(part, Mapping) for part in content)
    if content is None and not turn.get("tool_calls"):
        raise DataError(f"{where}: the content of a message ({role}) is null; take it out")
    if not (content is None or isinstance(content, str) or parts):
        raise DataError(
            f"{where}: the content of a message ({role}) is a {type(content).__name__}, neither "
            "text nor a list of parts"
        )
    # pyarrow 26.0 gives every message of a Parquet column all fields, null where it has none.
    rest = {n: value for n, value in turn.items() if value is not None and n not in _SHAREGPT}
    return {**rest, "role": _ROLES.get(role, role), "content": content}


def _words(content: Any) -> str:
    if isinstance(content, list):
        return "\n".join(part["text"] for part in content if isinstance(part.get("text"), str))
    return content or ""


def _valid(value: Any, where: str) -> Any:
    """A text, or lists and mappings with texts, if all of it is Unicode: JSON can spell halves of
    characters that tokenizers cannot take."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            if half := _SURROGATE.search(one):
                raise DataError(
                    f"{where}: has half a character (U+{ord(half[0]):04X}, a lone surrogate) "
                    f"at character {half.start() + 1}; take the record out, or the half character"
                )
        elif isinstance(one, Mapping):
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
    return value


def in_template(
    documents: Iterable[Document],
    template: str | None,
    tokens: Mapping[str, str],
    *,
    day: str | None,
) -> Iterator[str]:
    """Each as the model is given it; a text is what a user says.

    ``tokens`` and ``day`` as in `Template`. Raises DataError if there is no template, or it fails.
    """
    if template is None:
        raise DataError(
            "calibration.chat_template: the model has no chat template; set it to false"
        )
    chat = Template(template, tokens, day, block="calibration")
    for document in documents:
        messages = document.messages or [{"role": "user", "content": document.text}]
        yield chat.render(messages, tools=document.tools)
