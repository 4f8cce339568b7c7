"""`qpipe report RUN…`: the comparison of one or more runs, from their run.json alone."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from qpipe.commands.output import print_json
from qpipe.commands.parser import add_json, add_runs
from qpipe.errors import StoreError, UsageError, nearest

FORMATS = ("md", "csv", "json", "html")


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """``RUN…``, ``--format``, ``-o``, ``--json``, ``--runs``."""
    parser.add_argument(
        "names", metavar="RUN", nargs="+", help="a name under runs/, a run's folder, or latest"
    )
    parser.add_argument(
        "--format", choices=FORMATS, help="default: by the name given with -o, else a plain table"
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="write there instead of to stdout")
    add_json(parser)
    add_runs(parser)


def run(args: argparse.Namespace) -> int:
    """Print or write the report. Raises UsageError for an unknown or damaged run."""
    from qpipe.report import render
    from qpipe.report.merge import merge
    from qpipe.report.runs import find_run, read_summary

    form = _form(args)
    paths = [find_run(name, Path(args.runs)) for name in dict.fromkeys(args.names)]
    comparison = merge([read_summary(path) for path in paths])
    title = ", ".join(path.root.resolve().name for path in paths)
    if args.output is not None:
        assert form is not None
        _write(Path(args.output), render.render(comparison, form, title=title))
        if args.json:
            print_json({"report": args.output, "format": form})
        else:
            print(f"written to {args.output}", file=sys.stderr)
    elif form is None:
        render.to_terminal(comparison, sys.stdout)
    else:
        sys.stdout.write(render.render(comparison, form, title=title))
    return 0


def _form(args: argparse.Namespace) -> str | None:
    if args.format is not None:
        return str(args.format)
    if args.output is not None:
        suffix = Path(args.output).suffix.removeprefix(".")
        if suffix not in FORMATS:
            raise UsageError(
                f"-o {args.output}: its name does not say which format; add --format "
                f"{'|'.join(FORMATS)} ({nearest(suffix, FORMATS)})"
            )
        return suffix
    return "json" if args.json else None


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{path}: the report cannot be written there ({error.strerror})") from None
