"""`qpipe repro TABLE…`: published results beside our own, with a verdict on each."""

from __future__ import annotations

import argparse
from pathlib import Path

from qpipe.commands.parser import add_json, add_runs, add_store
from qpipe.commands.report_form import FORMATS


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """Add ``TABLE…``, what of it is taken, where it goes, and ``--lint``."""
    add = parser.add_argument
    add(
        "tables",
        metavar="TABLE",
        nargs="*",
        help="a table that ships with qpipe, or the path of a YAML file; none: all that ship",
    )
    add("--rows", metavar="EXPR", help="these alone: 'format=Q4_*,model=*8B', by model, format, "
        "metric, engine or number")  # fmt: skip
    add("--only", choices=("sizes", "quality", "speed"), help="values of this kind alone")
    add("--plan", action="store_true", help="say what would run; run nothing")
    add("--lint", action="store_true", help="find contradictions of tables with themselves")
    add("--format", choices=FORMATS, help="default: by -o's name, else a table")
    add("-o", "--output", metavar="FILE", help="write there instead of to stdout")
    add("--bundle", metavar="FOLDER", help="write there all that it takes to repeat and cite it")
    add_json(parser)
    add_store(parser)
    add_runs(parser)
    add("-q", "--quiet", action="store_true", help="no progress, only the answer")


def run(args: argparse.Namespace) -> int:
    """Print a verdict on each chosen value; the exit code is 4 where one is not reproduced."""
    from qpipe.commands import repro_output
    from qpipe.session.reproducing.question import question

    if args.lint:
        return repro_output.lint(args.tables, json=args.json)
    form = repro_output.form(args)
    asked = question(args.tables, rows=args.rows, only=args.only, plan=args.plan)
    repro_output.refuse(args)
    with repro_output.progress(args) as (notify, listeners):
        from qpipe.session.reproducing.reproduce import context, reproduce

        repro_output.warn(asked, notify)
        where = context(asked, Path(args.store), Path(args.runs), notify)
        answer = reproduce(asked, where, listeners=listeners)
    repro_output.show(answer, asked, args, form)
    return answer.exit_code
