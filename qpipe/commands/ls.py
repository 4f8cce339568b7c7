"""`qpipe ls`: the artifacts in the store, the newest first."""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time

from qpipe.commands import ls_text
from qpipe.commands.output import print_json, width
from qpipe.commands.parser import add_json, add_store
from qpipe.session import listing
from qpipe.support.files import is_folder


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """Add ``--model``, ``--stage``, ``--json`` and ``--store``."""
    parser.add_argument("--model", metavar="NAME", help="only what was made from this model")
    parser.add_argument("--stage", help="only artifacts of this stage (quantize, evaluate, …)")
    add_json(parser)
    add_store(parser)


def run(args: argparse.Namespace) -> int:
    """List the artifacts in the store."""
    gc.disable()  # nothing here is garbage, and the process is about to end
    entries = [
        entry
        for entry in listing.entries(args.store)
        if args.stage in (None, entry["stage"]) and args.model in (None, entry["model"])
    ]
    entries.sort(key=lambda entry: (-(entry["created"] or entry["last_used"]), entry["key"]))
    if args.json:
        print_json("ls/1", {"store": _absolute(args.store), "artifacts": entries})
        return 0
    if not entries:
        print(f"no artifacts in {args.store}{_why_none(args)}", file=sys.stderr)
        return 0
    print(ls_text.table(entries, time.time(), width()))
    for line in ls_text.sums(entries):
        print(line, file=sys.stderr)
    return 0


def _absolute(store: str) -> str:
    return os.path.abspath(store)  # noqa: PTH100  importing pathlib would cost a tenth of it all


def _why_none(args: argparse.Namespace) -> str:
    if not is_folder(args.store):
        return " (there is no such folder yet)"
    return "".join(
        f" of {name} {value!r}"
        for name, value in (("model", args.model), ("stage", args.stage))
        if value
    )
