"""`qpipe verify [KEY]`: read every byte again; what is damaged is moved to quarantine, and so is
what was made from it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from qpipe.commands.output import print_json, say
from qpipe.commands.parser import add_json, add_store


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """Add ``[KEY]``, ``--json`` and ``--store``."""
    parser.add_argument(
        "key", metavar="KEY", nargs="?", help="the first digits of a key; without one, all"
    )
    add_json(parser)
    add_store(parser)


def run(args: argparse.Namespace) -> int:
    """Verify artifacts; return 1 if anything was damaged."""
    from qpipe.session.store import Store

    read: list[str] = []

    def show(key: str, number: int, of: int) -> None:
        read.append(key)
        if sys.stderr.isatty():
            print(f"\rreading {number}/{of}  {key[:12]}", end="", file=sys.stderr, flush=True)

    damaged = Store(args.store).verify(Path(args.key).name if args.key else None, on_key=show)
    if read and sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)
    moved = [(d.key, d.problem, None if d.moved_to is None else str(d.moved_to)) for d in damaged]
    if args.json:
        records = [dict(zip(("key", "problem", "moved_to"), one, strict=True)) for one in moved]
        store = str(Path(args.store).absolute())
        print_json("verify/1", {"store": store, "verified": len(read), "damaged": records})
        return 1 if damaged else 0
    for key, problem, place in moved:
        say(f"{key[:12]}  {problem}")
        if place:
            say(f"{'':12}  moved to {place}")
    whole = len(read) - len({key for key, *_ in moved}.intersection(read))
    summary = f"{whole} of {len(read)} artifact(s) are whole"
    if damaged:
        summary += f", {len(damaged)} moved away; the next run that needs one makes it again"
    print(summary)
    return 1 if damaged else 0
