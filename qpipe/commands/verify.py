"""`qpipe verify [KEY]`: read every byte again; what is damaged is moved to quarantine, and so is
what was made from it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from qpipe.commands.output import print_json, say
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
    whole = len(keys) - len({record["key"] for record in damaged}.intersection(keys))
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
        say(f"{record['key'][:12]}  {record['problem']}")
        if record["moved_to"]:
            say(f"{'':12}  moved to {record['moved_to']}")
    summary = f"{whole} of {len(keys)} artifact(s) are whole"
    if damaged:
        summary += f", {len(damaged)} moved away; the next run that needs one makes it again"
    print(summary)
    return 1 if damaged else 0


def _verify_all(store: Store, keys: Sequence[str]) -> list[Record]:
    damaged: list[Record] = []
    terminal = sys.stderr.isatty()
    for number, key in enumerate(keys, 1):
        if terminal:
            print(
                f"\rreading {number}/{len(keys)}  {key[:12]}", end="", file=sys.stderr, flush=True
            )
        if key not in {record["key"] for record in damaged}:
            damaged += _verify(store, key)
    if terminal and keys:
        print("\r\033[K", end="", file=sys.stderr, flush=True)
    return damaged


def _verify(store: Store, key: str) -> list[Record]:
    """What is wrong with an artifact, and what was made from it where it is damaged."""
    from qpipe.core import descent

    try:
        damage = store.verify(key)
    except (StoreError, OSError) as error:
        if not os.path.lexists(store.paths.artifact(key)):
            return []  # gc has taken it away since it was listed
        return [Record(key=key, problem=f"damaged, and left where it is: {error}", moved_to=None)]
    damaged = [] if damage is None else [damage, *descent.set_aside(store, damage)]
    return [
        Record(
            key=one.key, problem=one.problem, moved_to=str(one.moved_to) if one.moved_to else None
        )
        for one in damaged
    ]
