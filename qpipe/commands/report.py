"""`qpipe report RUN…`: the comparison of one or more runs, from their run.json alone."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from qpipe.commands import report_watch
from qpipe.commands.output import print_json, say
from qpipe.commands.parser import add_json, add_runs
from qpipe.commands.report_form import FORMATS, PUBLISHED, rendered, report_form

_FORMS = (*FORMATS, PUBLISHED)


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """Add ``RUN…``, ``--format``, ``-o``, ``--watch``, ``--port``, ``--json`` and ``--runs``."""
    parser.add_argument(
        "names", metavar="RUN", nargs="+", help="a name under runs/, a run's folder, or latest"
    )
    parser.add_argument("--format", choices=_FORMS, help="default: by -o's name, else a table")
    parser.add_argument("-o", "--output", metavar="FILE", help="write there instead of to stdout")
    report_watch.configure(parser)
    add_json(parser)
    add_runs(parser)


def run(args: argparse.Namespace) -> int:
    """Print, write or serve the report. Raises UsageError for an unknown or damaged run."""
    if args.watch or args.port is not None:
        return report_watch.run(args)
    from qpipe.report import render
    from qpipe.session.runs import merged_runs, write_report

    form = args.format or report_form(args.output, json=args.json, forms=_FORMS)
    merged = merged_runs(args.names, Path(args.runs))
    for note in merged.unfinished:
        say(note, file=sys.stderr)
    if form is None:
        render.to_terminal(merged.comparison, sys.stdout)
        return 0
    text = rendered(merged, form, args.output)
    if args.output is not None:
        write_report(Path(args.output), text)
        print(f"written to {args.output}", file=sys.stderr)
        if args.json:
            print_json("report/1", {"report": args.output, "format": form})
    elif args.json and form == "json":
        print_json(f"comparison/{merged.comparison.schema}", json.loads(text))
    else:
        sys.stdout.write(text)
    return 0
