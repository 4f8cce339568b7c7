"""`qpipe export RUN|KEY…`: models in the form that other tools and hubs take."""

from __future__ import annotations

import argparse
from pathlib import Path

from qpipe.commands import export_options
from qpipe.commands.output import print_json, say
from qpipe.commands.parser import add_json, add_runs, add_store

_TARGETS = ("folder", "ollama", "hf", "vllm", "card")


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """Add ``RUN|KEY…``, ``--to``, ``--out``, those of targets, ``--json``, ``--store`` and
    ``--runs``."""
    parser.add_argument(
        "names", metavar="RUN|KEY", nargs="+", help="a run, latest, or the first digits of a key"
    )
    parser.add_argument("--to", metavar="TARGET", required=True, help=" or ".join(_TARGETS))
    parser.add_argument("--out", metavar="DIR", required=True, help="a folder that is not there")
    export_options.add(parser)
    add_json(parser)
    add_store(parser)
    add_runs(parser)


def run(args: argparse.Namespace) -> int:
    """Export the models, and say what can be done with them."""
    from qpipe.commands.export_text import record, spoken
    from qpipe.commands.progress import progress_line
    from qpipe.session.export import export

    with progress_line() as line:
        result = export(
            args.names,
            args.to,
            args.out,
            store=Path(args.store),
            runs=Path(args.runs),
            options=export_options.read(args),
            progress=line.of("writing"),
            say=line.note,
        )
    if args.json:
        print_json("export/1", record(result))
    else:
        say(spoken(result))
    return 0
