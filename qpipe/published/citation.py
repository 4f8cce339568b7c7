"""CITATION.cff of a reproduction: itself, the documents whose values it is of, and qpipe."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from qpipe import __version__
from qpipe.published.reproduction import Reproduction
from qpipe.published.schema import Source

CFF = "1.2.0"
"""Of the Citation File Format, https://citation-file-format.github.io."""

_URL = re.compile(r"https?://\S+")


def citation(reproduction: Reproduction) -> str:
    """The text of the file, which is valid CFF 1.2.0."""
    files = reproduction.tables
    title = files[0].table.title if len(files) == 1 else f"{len(files)} published tables"
    record = {
        "cff-version": CFF,
        "message": "If you use these results, cite them and the documents that they are beside.",
        "type": "dataset",
        "title": f"{title}, reproduced",
        "authors": [{"name": "the authors of this reproduction"}],
        "date-released": reproduction.about["date"],
        "references": [
            *(_reference(file.table.source, file.table.title) for file in files),
            {
                "type": "software",
                "title": "qpipe",
                "version": __version__,
                "authors": [{"name": "the qpipe authors"}],
            },
        ],
    }
    text: str = yaml.safe_dump(record, sort_keys=False, allow_unicode=True, width=100)
    return text


def _reference(source: Source, title: str) -> Mapping[str, Any]:
    """A document as a reference: its name is the title, and its table a note."""
    year, month = (source.date or "").split("-")[0], (source.date or "").split("-")[1:2]
    record: dict[str, Any] = {
        "type": "generic",
        "title": source.document,
        "authors": [{"name": source.authors or "not named"}],
        "notes": title,
    }
    if year:
        record["year"] = int(year)
    if month:
        record["month"] = int(month[0])
    if source.revision is not None:
        record["version"] = source.revision
    if source.url is not None and _URL.fullmatch(source.url):
        record["url"] = source.url
    return record
