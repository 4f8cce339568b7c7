"""`qpipe pin RUN` and `unpin RUN`: keep a run's artifacts from gc."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from qpipe.commands.output import print_json, say
from qpipe.commands.parser import add_json, add_runs, add_store
from qpipe.errors import StoreError

if TYPE_CHECKING:
    from qpipe.core.store import Store


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """``RUN``, ``--json``, ``--store``, ``--runs``."""
    parser.set_defaults(verb=verb)
    parser.add_argument("run", metavar="RUN", help="a name under runs/, a run's folder, or latest")
    add_json(parser)
    add_store(parser)
    add_runs(parser)


def run(args: argparse.Namespace) -> int:
    """Pin or unpin. Raises UsageError for an unknown run."""
    from qpipe.core.store import Store

    store = Store(Path(args.store))
    return _pin(args, store) if args.verb == "pin" else _unpin(args, store)


def _pin(args: argparse.Namespace, store: Store) -> int:
    from qpipe.core import gc
    from qpipe.report.runs import find_run, read_summary

    paths = find_run(args.run, Path(args.runs))
    name = paths.root.resolve().name
    keys = [node["key"] for node in read_summary(paths).nodes if node["key"]]
    gone = [key for key in keys if not store.paths.artifact(key).is_dir()]
    if keys and len(gone) == len(keys):
        raise StoreError(
            f"none of the {len(keys)} artifacts of run {name} is in {args.store}; name their store "
            "with --store, or run the recipe again"
        )
    gc.pin(store, name, keys)
    if args.json:
        print_json({"run": name, "pinned": keys, "missing": gone})
    else:
        say(f"pinned {len(keys) - len(gone)} artifact(s) of run {name}")
    if gone:
        print(f"{len(gone)} of its artifacts are no longer in the store", file=sys.stderr)
    return 0


def _unpin(args: argparse.Namespace, store: Store) -> int:
    from qpipe.core import gc
    from qpipe.report.runs import LATEST, find_run

    # The pin outlives the run's folder, so only `latest` needs to look there.
    named = find_run(args.run, Path(args.runs)).root if args.run == LATEST else Path(args.run)
    name = named.resolve().name
    try:
        gc.unpin(store, name)
    except OSError as error:
        raise store.explain(error) from error
    if args.json:
        print_json({"run": name, "unpinned": True})
    else:
        say(f"unpinned run {name}")
    return 0
