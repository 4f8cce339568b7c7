"""`qpipe runs`: the runs, the newest first, with how each ended or how far it is."""

from __future__ import annotations

import argparse
import os
import sys
import time

from qpipe.commands import runs_text
from qpipe.commands.output import print_json, width
from qpipe.commands.parser import add_json, add_runs
from qpipe.session import run_states


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """Add ``--json`` and ``--runs``."""
    add_json(parser)
    add_runs(parser)


def run(args: argparse.Namespace) -> int:
    """List the runs."""
    records = run_states.states(args.runs)
    if args.json:
        print_json("runs/1", {"runs": os.path.abspath(args.runs), "entries": records})  # noqa: PTH100
        return 0
    if not records:
        print(f"no runs in {args.runs}", file=sys.stderr)
        return 0
    print(runs_text.table(records, time.time(), width()))
    return 0
