"""`qpipe status [RUN]`: what a run does, what waits, what it took, and what is left."""

from __future__ import annotations

import argparse
import time

from qpipe.commands.output import print_json, say
from qpipe.commands.parser import add_json, add_runs
from qpipe.commands.status_text import lines
from qpipe.session import run_states


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """Add ``RUN``, ``--json`` and ``--runs``."""
    parser.add_argument(
        "name",
        metavar="RUN",
        nargs="?",
        default=run_states.LATEST,
        help="a name under runs/, a run's folder, or latest (the default)",
    )
    add_json(parser)
    add_runs(parser)


def run(args: argparse.Namespace) -> int:
    """Print the state of a run, whether it goes on or has ended."""
    state = run_states.state(args.name, args.runs)
    if args.json:
        print_json("status/1", state)
    else:
        say("\n".join(lines(state, time.time())))
    return 0
