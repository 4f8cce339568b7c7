"""`qpipe run`: run a recipe, and print the comparison of what came out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from qpipe.commands import recipe_arguments
from qpipe.commands.output import print_json, say
from qpipe.errors import by_reason

_MOST = 20  # paths of models that are listed; of more, their folder is


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """Add the arguments of recipes, ``--keep-going``, ``--again`` and ``--pin``."""
    recipe_arguments.add(parser, verb)
    recipe_arguments.add_keep_going(parser)
    recipe_arguments.add_again(parser)
    parser.add_argument("--pin", action="store_true", help="keep the artifacts from gc")


def run(args: argparse.Namespace) -> int:
    """Run the recipe; the comparison goes to stdout, or with ``--json`` the whole summary."""
    context = recipe_arguments.context(args)
    if recipe_arguments.shown_by_hydra(context):
        return 0
    from qpipe.report.live import Live
    from qpipe.session.run import execute

    live = Live(quiet=args.quiet)
    try:
        finished = execute(context, listeners=[live], pin=args.pin)
    finally:
        live.close()
    if args.json:
        print_json(f"run/{finished.comparison.schema}", finished.document)
    else:
        from qpipe.report import render

        render.to_terminal(finished.comparison, sys.stdout)
        invalid = finished.document.get("invalid", [])
        for line in by_reason((job["name"], job["error"]) for job in invalid):
            print(f"left out: {line}")
        if finished.written:
            shown = {"model": _shown(finished.links), "mmproj": finished.towers}
            for line in (f"{kind}: {path}" for kind, paths in shown.items() for path in paths):
                say(line, file=sys.stderr)
            report = finished.paths.report("html")
            print(f"report: {report} (also .md, .json, .csv)", file=sys.stderr)
    for problem in finished.problems:
        print(f"qpipe: {problem}", file=sys.stderr)
    return finished.exit_code


def _shown(links: Sequence[str]) -> Sequence[str]:
    """The paths of the models, or the folder of very many."""
    return links if len(links) <= _MOST else [f"{len(links)} in {Path(links[0]).parent}"]
