"""`qpipe pin RUN` and `unpin RUN`: keep a run's artifacts from gc."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from qpipe.commands.output import print_json, say
from qpipe.commands.parser import add_json, add_runs, add_store


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """Add ``RUN``, ``--json``, ``--store`` and ``--runs``."""
    parser.set_defaults(verb=verb)
    parser.add_argument("run", metavar="RUN", help="a name under runs/, a run's folder, or latest")
    add_json(parser)
    add_store(parser)
    add_runs(parser)


def run(args: argparse.Namespace) -> int:
    """Pin or unpin a run. Raises UsageError for an unknown one."""
    from qpipe.session import runs

    places = {"store": Path(args.store), "runs": Path(args.runs)}
    if args.verb == "unpin":
        name = runs.unpin(args.run, **places)
        if args.json:
            print_json("unpin/1", {"run": name, "unpinned": True})
        else:
            say(f"unpinned run {name}")
        return 0
    pinned = runs.pin(args.run, **places)
    if args.json:
        print_json("pin/1", {"run": pinned.name, "pinned": pinned.keys, "missing": pinned.missing})
    else:
        say(f"pinned {len(pinned.keys) - len(pinned.missing)} artifact(s) of run {pinned.name}")
    if pinned.missing:
        print(f"{len(pinned.missing)} of its artifacts are no longer in the store", file=sys.stderr)
    return 0
