"""`qpipe ls`: the artifacts in the store, the newest first.

Reads each manifest as plain JSON: checking them is `qpipe verify`'s work, and importing the store
would take longer than listing a thousand artifacts.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from qpipe.commands.output import print_json
from qpipe.commands.parser import add_json, add_store
from qpipe.core.layout import MANIFEST, StorePaths
from qpipe.errors import StoreError
from qpipe.report import numbers, text
from qpipe.support.files import is_folder, open_regular, up_to

TYPE_CHECKING = False  # typing's own would cost the import of typing
if TYPE_CHECKING:
    from typing import Any

_HEAD = ("KEY", "STAGE", "NAME", "FORMAT", "SIZE", "BPW", "PPL", "TOOK", "MADE", "USED")
_SIDES = "llllrrrrrr"

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
    entries = [e for e in _entries(args.store) if args.stage in (None, e["stage"])]
    entries.sort(key=lambda entry: (-(entry["created"] or entry["last_used"]), entry["key"]))
    if args.json:
        print_json({"store": str(Path(args.store).absolute()), "artifacts": entries})
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


def _why_none(args: argparse.Namespace) -> str:
    if not Path(args.store).is_dir():
        return " (there is no such folder yet)"
    return f" of stage {args.stage!r}" if args.stage else ""


def _entries(store: str) -> Iterator[dict[str, Any]]:
    for shard in _folders(str(StorePaths(Path(store)).artifacts)):
        if is_folder(shard.path):
            for artifact in _folders(shard.path):
                yield _entry(artifact)


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


def _entry(artifact: os.DirEntry[str]) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "key": artifact.name,
        "status": "ok",
        "stage": None,
        "name": None,
        "format": None,
        "size_bytes": 0,
        "bits_per_weight": None,
        "ppl": None,
        "seconds": None,
        "created": None,
        "last_used": 0.0,
        "path": artifact.path,
    }
    try:
        entry["last_used"] = artifact.stat().st_mtime
        with open_regular(f"{artifact.path}/{MANIFEST}") as file:
            manifest = json.loads(up_to(file, _MOST))
        facts = manifest["facts"]
        entry.update(
            stage=_text(manifest["stage"]),
            name=_text(manifest["name"]),
            size_bytes=sum(int(_number(listed["size"])) for listed in manifest["files"]),
            seconds=_number(manifest["usage"]["seconds"]),
            created=_number(manifest["created"]),
            format=None if facts.get("format") is None else _text(facts["format"]),
            bits_per_weight=_optional(facts.get("bits_per_weight")),
            ppl=_optional(facts.get("ppl")),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        entry.update(status="damaged", problem=f"{type(error).__name__}: {error}")
    return entry


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
