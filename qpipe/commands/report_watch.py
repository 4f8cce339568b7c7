"""`qpipe report --watch`: the report of runs that go on, for a browser on this machine."""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from pathlib import Path

from qpipe.commands.output import say
from qpipe.errors import UsageError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add ``--watch`` and ``--port``."""
    parser.add_argument(
        "--watch",
        action="store_true",
        help="serve the HTML report on 127.0.0.1 until Ctrl-C; it follows runs that go on",
    )
    parser.add_argument(
        "--port", type=int, metavar="N", help="with --watch: the port; default: one that is free"
    )


def run(args: argparse.Namespace) -> int:
    """Serve the report. Raises UsageError for an unknown or damaged run, and for options that do
    not go with it."""
    if not args.watch:
        raise UsageError("--port is for --watch, which serves the report")
    if args.format or args.output or args.json:
        raise UsageError("--watch serves a page: leave out --format, -o and --json")
    from qpipe.session.report_server import ReportServer
    from qpipe.session.watched_runs import WatchedRuns

    runs = WatchedRuns(args.names, Path(args.runs))
    server = ReportServer(runs, port=args.port or 0, notify=lambda note: say(note, file=sys.stderr))
    with server, suppress(KeyboardInterrupt):
        print(server.url, flush=True)
        say(f"the report of {runs.title}, until Ctrl-C", file=sys.stderr)
        server.serve()
    return 0
