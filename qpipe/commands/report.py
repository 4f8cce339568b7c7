"""`qpipe report RUN…`: the comparison of one or more runs, from their run.json alone."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from qpipe.commands.output import print_json, say
from qpipe.commands.parser import add_json, add_runs
from qpipe.errors import UsageError, nearest

FORMATS = ("md", "csv", "json", "html")


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """Add ``RUN…``, ``--format``, ``-o``, ``--json`` and ``--runs``."""
    parser.add_argument(
        "names", metavar="RUN", nargs="+", help="a name under runs/, a run's folder, or latest"
    )
    parser.add_argument("--format", choices=FORMATS, help="default: by -o's name, else a table")
    parser.add_argument("-o", "--output", metavar="FILE", help="write there instead of to stdout")
    add_json(parser)
    add_runs(parser)


def run(args: argparse.Namespace) -> int:
    """Print or write the report. Raises UsageError for an unknown or damaged run."""
    from qpipe.report import render
    from qpipe.session.runs import merged_runs, write_report

    form = args.format or _form(args)
    merged = merged_runs(args.names, Path(args.runs))
    for note in merged.unfinished:
        say(note, file=sys.stderr)
    if form is None:
        render.to_terminal(merged.comparison, sys.stdout)
        return 0
    text = render.render(merged.comparison, form, title=merged.title, runs=merged.runs)
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


def _form(args: argparse.Namespace) -> str | None:
    if args.output is not None:
        suffix = Path(args.output).suffix.removeprefix(".")
        if suffix in FORMATS:
            return suffix
        hint = f"add --format {'|'.join(FORMATS)} ({nearest(suffix, FORMATS)})"
        raise UsageError(f"-o {args.output}: its name does not say which format; {hint}")
    return "json" if args.json else None
