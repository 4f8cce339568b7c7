"""Whether a manifest's JSON is of the types that a manifest has, whoever wrote it.

Its SHA-256 proves that nothing changed since it was written, not that qpipe wrote it: a checkpoint
from elsewhere may have a manifest.json beside it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

_FIELDS: Mapping[str, type | tuple[type, ...]] = {
    "key": str, "id": str, "name": str, "stage": str, "version": int, "params": dict,
    "engine": dict, "inputs": dict, "files": list, "facts": dict, "usage": dict, "tools": dict,
    "machine": dict, "created": (int, float),
}  # fmt: skip
_USAGE = frozenset({"seconds", "cpu_seconds", "peak_rss", "nodes"})
_LARGEST = 1 << 62
_LAST = 32503680000.0  # the year 3000


def parse(data: bytes) -> Any:
    """The JSON in ``data``, without the NaN and infinity that Python would read. Raises ValueError,
    RecursionError for what is nested too deeply."""
    return _DECODER.decode(data.decode())


def check(record: Mapping[str, Any]) -> None:
    """Raises ValueError, KeyError, TypeError or AttributeError for a field that is of another type
    or missing."""
    for name, kind in _FIELDS.items():
        _require(isinstance(record[name], kind), name, record[name])
    _require(0 <= record["created"] < _LAST, "created", record["created"])
    for name, value in record["usage"].items():
        number = type(value) in (int, float) and 0 <= value < _LARGEST
        _require(name in _USAGE and number, f"usage.{name}", value)
    for name, value in record["inputs"].items():
        texts = all(isinstance(value[part], str) for part in ("key", "digest", "name"))
        _require(texts, f"inputs.{name}", value)
    for entry in record["files"]:
        _require(_is_entry(entry), "files", entry)


def _is_entry(entry: Mapping[str, Any]) -> bool:
    path, size, mtime = entry["path"], entry["size"], entry.get("mtime_ns")
    os.fsencode(path)  # raises ValueError for half a character, which a name cannot have
    return (
        "\0" not in path
        and not path.startswith("/")
        and ".." not in path.split("/")
        and isinstance(entry["sha256"], str)
        and type(size) is int
        and 0 <= size < _LARGEST
        and (mtime is None or (type(mtime) is int and abs(mtime) < _LARGEST))
    )


def _require(fits: bool, name: str, value: object) -> None:
    if not fits:
        raise ValueError(f"{name} is {value!r:.80}")


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if abs(number) == float("inf"):
        raise ValueError(f"{digits:.20} is no number")
    return number


_DECODER = json.JSONDecoder(parse_constant=_no_number, parse_float=_finite)
