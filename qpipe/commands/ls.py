"""`qpipe ls`: the artifacts in the store, the newest first.

Reads each manifest as plain JSON, and once: what it shows of them is kept in an index beside them,
which counts as long as a manifest's stamp stays the same. Checking them is `qpipe verify`'s work;
importing the store would take longer than listing a thousand artifacts.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time

from qpipe.commands.output import print_json
from qpipe.commands.parser import add_json, add_store
from qpipe.core.layout import ARTIFACTS, INDEX, MANIFEST
from qpipe.errors import StoreError
from qpipe.report import numbers, text
from qpipe.support.files import is_folder, open_regular, up_to

TYPE_CHECKING = False  # typing's own would cost the import of typing
if TYPE_CHECKING:
    from typing import Any

_HEAD = ("KEY", "STAGE", "NAME", "FORMAT", "SIZE", "BPW", "PPL", "TOOK", "MADE", "USED")
_SIDES = "llllrrrrrr"

# What is taken from a manifest.
_KEPT = ("stage", "name", "format", "size_bytes", "bits_per_weight", "ppl", "seconds", "created")

# Bytes of the longest manifest that is read, and what no figure in one can reach.
_MOST = 1 << 26
_LARGEST = 1e18


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """``--stage``, ``--json``, ``--store``."""
    parser.add_argument("--stage", help="only artifacts of this stage (quantize, evaluate, …)")
    add_json(parser)
    add_store(parser)


def run(args: argparse.Namespace) -> int:
    """List them."""
    gc.disable()  # nothing here is garbage, and the process is about to end
    entries = [e for e in _entries(args.store) if args.stage in (None, e["stage"])]
    entries.sort(key=lambda entry: (-(entry["created"] or entry["last_used"]), entry["key"]))
    if args.json:
        print_json({"store": _absolute(args.store), "artifacts": entries})
        return 0
    if not entries:
        print(f"no artifacts in {args.store}{_why_none(args)}", file=sys.stderr)
        return 0
    now = time.time()
    print(text.table(_HEAD, [_row(entry, now) for entry in entries], right=_SIDES))
    damaged = sum(entry["status"] == "damaged" for entry in entries)
    total = numbers.size(sum(entry["size_bytes"] for entry in entries))
    print(f"{len(entries)} artifact(s), {total}", file=sys.stderr)
    if damaged:
        print(
            f"{damaged} damaged: `qpipe verify` says why and moves them away; the next run that "
            "needs one makes it again",
            file=sys.stderr,
        )
    return 0


def _absolute(store: str) -> str:
    return os.path.abspath(store)  # noqa: PTH100  importing pathlib would cost a tenth of it all


def _why_none(args: argparse.Namespace) -> str:
    if not is_folder(args.store):
        return " (there is no such folder yet)"
    return f" of stage {args.stage!r}" if args.stage else ""


def _entries(store: str) -> list[dict[str, Any]]:
    path = f"{store}/{INDEX}"
    index = _index(path)
    entries, listed = [], {}
    for shard in _folders(f"{store}/{ARTIFACTS}"):
        if shard.is_symlink() and not is_folder(shard.path):
            continue
        for artifact in _folders(shard.path):
            entry, record = _entry(artifact, index.get(artifact.name))
            entries.append(entry)
            if record is not None:
                listed[artifact.name] = record
    if listed != index:
        _keep(path, listed)
    return entries


def _index(path: str) -> dict[str, Any]:
    """By key, the stamp of a manifest and the fields kept of it; nothing if it cannot be used."""
    try:
        with open_regular(path) as file:
            index = json.loads(up_to(file, _MOST))
        return index["entries"] if index["fields"] == [*_KEPT] else {}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def _keep(path: str, entries: dict[str, Any]) -> None:
    from contextlib import suppress
    from pathlib import Path

    from qpipe.core.lock import write_atomic

    with suppress(OSError):  # somebody else's store is only read
        text = json.dumps({"fields": _KEPT, "entries": entries})
        write_atomic(Path(path), text.encode(), sync=False)


def _folders(path: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as found:
            return [entry for entry in found if _is_folder(entry)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror})") from None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads back to itself: looking into it says so
        return True


def _entry(artifact: os.DirEntry[str], known: Any) -> tuple[dict[str, Any], list[Any] | None]:
    """What is shown of an artifact, and its record for the index, None for one that is damaged.

    ``known`` is the record that the index has.
    """
    problem, record, last_used = None, None, 0.0
    values: tuple[Any, ...] = (None, None, None, 0, None, None, None, None)
    try:
        last_used = artifact.stat().st_mtime
        path = f"{artifact.path}/{MANIFEST}"
        found = os.stat(path)  # noqa: PTH116  a thousand of them
        stamp = [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]
        values = _recorded(known, stamp) or _read(path)
        record = [stamp, [*values]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        problem = f"{type(error).__name__}: {error}"
    entry: dict[str, Any] = {"key": artifact.name, "status": "damaged" if problem else "ok"}
    entry.update(zip(_KEPT, values, strict=True))
    entry["last_used"], entry["path"] = last_used, artifact.path
    if problem:
        entry["problem"] = problem
    return entry, record


def _recorded(known: Any, stamp: list[int]) -> tuple[Any, ...] | None:
    try:
        return _checked(*known[1]) if known is not None and known[0] == stamp else None
    except (TypeError, LookupError):  # not an index of ours
        return None


def _read(path: str) -> tuple[Any, ...]:
    """The values of `_KEPT` in a manifest."""
    with open_regular(path) as file:
        manifest = json.loads(up_to(file, _MOST))
    facts = manifest["facts"]
    return _checked(
        manifest["stage"],
        manifest["name"],
        facts.get("format"),
        sum(int(_number(listed["size"])) for listed in manifest["files"]),
        facts.get("bits_per_weight"),
        facts.get("ppl"),
        manifest["usage"]["seconds"],
        manifest["created"],
    )


def _checked(
    stage: Any, name: Any, kind: Any, size: Any, bits: Any, ppl: Any, seconds: Any, created: Any
) -> tuple[Any, ...]:
    """The values of `_KEPT`. Raises TypeError for one of another type."""
    return (
        _text(stage),
        _text(name),
        None if kind is None else _text(kind),
        int(_number(size)),
        _optional(bits),
        _optional(ppl),
        _number(seconds),
        _number(created),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.80} is no text")
    return value


def _number(value: Any) -> float:
    if not (type(value) in (int, float) and abs(value) < _LARGEST):
        raise TypeError(f"{value!r:.80} is no number")
    return float(value)


def _optional(value: Any) -> float | None:
    return None if value is None else _number(value)


def _row(entry: dict[str, Any], now: float) -> list[str]:
    damaged = entry["status"] == "damaged"
    ppl, bpw = entry["ppl"], entry["bits_per_weight"]
    return [
        entry["key"][:12],
        entry["stage"] or "-",
        "(damaged)" if damaged else entry["name"],
        str(entry["format"] or ""),
        "-" if damaged else numbers.size(entry["size_bytes"]),
        "" if bpw is None else f"{bpw:.2f}",
        "" if ppl is None else f"{ppl:.4f}",
        "-" if damaged else numbers.duration(entry["seconds"]),
        "-" if damaged else numbers.age(now - entry["created"]),
        numbers.age(now - entry["last_used"]),
    ]
