"""The artifacts in a store, as far as a list shows them.

Reads each manifest as plain JSON, and once: what is shown of them is kept in an index beside them,
which counts as long as a manifest's stamp stays the same. Checking them is `qpipe verify`'s work;
importing the store would take longer than listing a thousand artifacts.
"""

from __future__ import annotations

import json
import os

from qpipe.core.layout import ARTIFACTS, INDEX, MANIFEST
from qpipe.errors import StoreError
from qpipe.support.files import is_folder, open_regular, up_to

TYPE_CHECKING = False  # typing's own would cost the import of typing
if TYPE_CHECKING:
    from typing import Any

# What is taken from a manifest.
_INDEXED = (
    *("stage", "name", "format", "size_bytes", "bits_per_weight", "ppl", "seconds", "created"),
    *("model", "made_from", "peak_rss", "source_kind"),
)

# The roles by which an artifact is made from a model, or measures it.
_FROM = ("model", "checkpoint")

# The suffixes of files of which a model has one.
_WEIGHTS = (".gguf", ".safetensors")

# Artifacts in a line, each made from the next, that are followed.
_LONGEST_LINE = 100

# Bytes of the longest manifest that is read, and what no figure in one can reach.
_MOST = 1 << 26
_LARGEST = 1e18


def entries(store: str) -> list[dict[str, Any]]:
    """Return a record of each artifact in the folder ``store``: key, status (ok or damaged), the
    fields kept of its manifest, when it was used last, its path, and the problem of a damaged one.

    ``model`` is the name under which it was made, else that of what it was made from, which is
    ``made_from``. Raises StoreError for a folder that cannot be read.
    """
    path = f"{store}/{INDEX}"
    index = _index(path)
    records: list[dict[str, Any]] = []
    listed: dict[str, Any] = {}
    for shard in _folders(f"{store}/{ARTIFACTS}"):
        if shard.is_symlink() and not is_folder(shard.path):
            continue
        for artifact in _folders(shard.path):
            entry, record = _entry(artifact, index.get(artifact.name))
            records.append(entry)
            if record is not None:
                listed[artifact.name] = record
    if listed != index:
        _keep(path, listed)
    _inherit(records)
    return records


def models(store: str) -> dict[str, str | None]:
    """Return the name of each artifact's model by key. Raises as `entries` does."""
    return {entry["key"]: entry["model"] for entry in entries(store)}


def _inherit(records: list[dict[str, Any]]) -> None:
    """Give artifacts that name no model the name of what they are made from."""
    by_key = {record["key"]: record for record in records}
    for record in records:
        line = [record]
        while line[-1]["model"] is None and len(line) < _LONGEST_LINE:
            if (source := by_key.get(line[-1]["made_from"])) is None:
                break
            line.append(source)
        for one in line:
            one["model"] = line[-1]["model"]


def _index(path: str) -> dict[str, Any]:
    """Read the index: by key, the stamp of a manifest and the fields kept of it.

    It is empty if the file cannot be used.
    """
    try:
        with open_regular(path) as file:
            index = json.loads(up_to(file, _MOST))
        entries = index["entries"] if index["fields"] == [*_INDEXED] else {}
        return entries if isinstance(entries, dict) else {}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def _keep(path: str, entries: dict[str, Any]) -> None:
    from contextlib import suppress
    from pathlib import Path

    from qpipe.core.file_lock import write_atomic

    with suppress(OSError):  # somebody else's store is only read
        text = json.dumps({"fields": _INDEXED, "entries": entries})
        write_atomic(Path(path), text.encode(), sync=False)


def _folders(path: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return [entry for entry in entries if _is_folder(entry)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror})") from None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads back to itself: looking into it says so
        return True


def _entry(artifact: os.DirEntry[str], indexed: Any) -> tuple[dict[str, Any], list[Any] | None]:
    """The entry of an artifact in a list, and its record for the index, None for a damaged one.

    ``indexed`` is the record that the index has.
    """
    problem, record, last_used = None, None, 0.0
    values: tuple[Any, ...] = (None, None, None, 0, *[None] * 8)
    try:
        last_used = artifact.stat().st_mtime
        path = f"{artifact.path}/{MANIFEST}"
        stat = os.stat(path)  # noqa: PTH116  a thousand of them
        stamp = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
        values = _recorded(indexed, stamp) or _read(path)
        record = [stamp, [*values]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        problem = f"{type(error).__name__}: {error}"
    entry: dict[str, Any] = {"key": artifact.name, "status": "damaged" if problem else "ok"}
    entry.update(zip(_INDEXED, values, strict=True))
    entry["last_used"], entry["path"] = last_used, artifact.path
    if problem:
        entry["problem"] = problem
    return entry, record


def _recorded(indexed: Any, stamp: list[int]) -> tuple[Any, ...] | None:
    try:
        return _checked(*indexed[1]) if indexed is not None and indexed[0] == stamp else None
    except (TypeError, LookupError):  # not an index of ours
        return None


def _read(path: str) -> tuple[Any, ...]:
    """The values of `_INDEXED` in a manifest."""
    with open_regular(path) as file:
        manifest = json.loads(up_to(file, _MOST))
    facts, inputs = manifest["facts"], manifest["inputs"]
    return _checked(
        manifest["stage"],
        manifest["name"],
        facts.get("format"),
        sum(int(_number(listed["size"])) for listed in manifest["files"]),
        facts.get("bits_per_weight"),
        facts.get("ppl"),
        manifest["usage"]["seconds"],
        manifest["created"],
        facts.get("made_for") or _source_name(manifest),
        next((inputs[role]["key"] for role in _FROM if role in inputs), None),
        manifest["usage"].get("peak_rss", 0),
        manifest["params"].get("kind") if not inputs else None,
    )


def _source_name(manifest: Any) -> Any:
    """The name of a model that a qpipe fetched which kept no names."""
    files = (listed["path"] for listed in manifest["files"])
    if manifest["stage"] != "download" or not any(file.endswith(_WEIGHTS) for file in files):
        return None
    name = manifest["params"].get("repo") or manifest["facts"].get("name") or ""
    return name.rsplit("/", 1)[-1] or None


def _checked(*values: Any) -> tuple[Any, ...]:
    """The values of `_INDEXED`, their types checked. Raises TypeError for one of another type, or
    for more or fewer."""
    if len(values) != len(_INDEXED):
        raise TypeError(f"{len(values)} values")
    stage, name, kind, size, bits, ppl, seconds, created, model, made_from, rss, kind_of = values
    return (
        _text(stage),
        _text(name),
        _text_or_none(kind),
        int(_number(size)),
        _optional(bits),
        _optional(ppl),
        _number(seconds),
        _number(created),
        _text_or_none(model),
        _text_or_none(made_from),
        int(_number(rss)),
        _text_or_none(kind_of),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.80} is no text")
    return value


def _text_or_none(value: Any) -> str | None:
    return None if value is None else _text(value)


def _number(value: Any) -> float:
    if not (type(value) in (int, float) and abs(value) < _LARGEST):
        raise TypeError(f"{value!r:.80} is no number")
    return float(value)


def _optional(value: Any) -> float | None:
    return None if value is None else _number(value)
