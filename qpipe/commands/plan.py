"""`qpipe plan`: what a run would do; nothing runs."""

from __future__ import annotations

import argparse

from qpipe.commands import recipe_arguments
from qpipe.commands.output import print_json, say


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """Add the arguments of recipes, ``--keep-going``, ``--again`` and ``--all``."""
    recipe_arguments.add(parser, verb)
    recipe_arguments.add_keep_going(parser)
    recipe_arguments.add_again(parser)
    parser.add_argument(
        *("-v", "--all"),
        action="store_true",
        help="each node in a line of its own, and the type of every tensor",
    )


def run(args: argparse.Namespace) -> int:
    """Print hits, misses and why, what would be made, and the sums.

    The exit code is that of the first node that would fail, else 0.
    """
    context = recipe_arguments.context(args)
    if recipe_arguments.shown_by_hydra(context):
        return 0
    from qpipe.session.forecasts import run_plan

    plan = run_plan(context)
    if args.json:
        from qpipe.commands.plan_text import document

        print_json("plan/1", document(plan))
    elif args.all:
        from qpipe.commands import plan_text

        say("\n".join(plan_text.lines(plan)))
    else:
        from qpipe.commands import plan_fold

        say("\n".join(plan_fold.lines(plan)))
    return plan.errors[0].exit_code if plan.errors else 0
