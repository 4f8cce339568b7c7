"""`qpipe verify [KEY]`: read every byte again; what is damaged is moved to quarantine."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from qpipe.commands.output import print_json
from qpipe.commands.parser import add_json, add_store
from qpipe.errors import StoreError

if TYPE_CHECKING:
    from qpipe.core.store import Store


class Record(TypedDict):
    """A damaged artifact, as ``--json`` gives it."""

    key: str
    problem: str
    moved_to: str | None


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """``[KEY]``, ``--json``, ``--store``."""
    parser.add_argument(
        "key", metavar="KEY", nargs="?", help="the first digits of a key; without one, all"
    )
    add_json(parser)
    add_store(parser)


def run(args: argparse.Namespace) -> int:
    """Verify; 1 if anything was damaged."""
    from qpipe.core.store import Store

    store = Store(Path(args.store))
    keys = [store.find(Path(args.key).name)] if args.key else list(store.all_keys())
    damaged = _verify_all(store, keys)
    if args.json:
        print_json(
            {
                "store": str(store.paths.root.absolute()),
                "verified": len(keys),
                "damaged": [dict(record) for record in damaged],
            }
        )
        return 1 if damaged else 0
    for record in damaged:
        print(f"{record['key'][:12]}  {record['problem']}")
        if record["moved_to"]:
            print(f"{'':12}  moved to {record['moved_to']}")
    summary = f"{len(keys) - len(damaged)} of {len(keys)} artifact(s) are whole"
    if damaged:
        summary += f", {len(damaged)} damaged; the next run that needs one makes it again"
    print(summary)
    return 1 if damaged else 0


def _verify_all(store: Store, keys: Sequence[str]) -> list[Record]:
    damaged = []
    terminal = sys.stderr.isatty()
    for number, key in enumerate(keys, 1):
        if terminal:
            print(
                f"\rreading {number}/{len(keys)}  {key[:12]}", end="", file=sys.stderr, flush=True
            )
        if record := _verify(store, key):
            damaged.append(record)
    if terminal and keys:
        print("\r\033[K", end="", file=sys.stderr, flush=True)
    return damaged


def _verify(store: Store, key: str) -> Record | None:
    try:
        damage = store.verify(key)
    except (StoreError, OSError) as error:
        if not store.paths.artifact(key).exists():
            return None  # gc has taken it away since it was listed
        return Record(key=key, problem=f"damaged, and left where it is: {error}", moved_to=None)
    if damage is None:
        return None
    moved_to = str(damage.moved_to) if damage.moved_to else None
    return Record(key=key, problem=damage.problem, moved_to=moved_to)
