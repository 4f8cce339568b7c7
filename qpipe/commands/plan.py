"""`qpipe plan`: what a run would do; nothing runs."""

from __future__ import annotations

import argparse

from qpipe.commands import recipe_arguments
from qpipe.commands.output import print_json, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qpipe.session.forecasts import RunPlan


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """Add the arguments of recipes, ``--keep-going`` and ``--again``."""
    recipe_arguments.add(parser, verb)
    recipe_arguments.add_keep_going(parser)
    recipe_arguments.add_again(parser)


def run(args: argparse.Namespace) -> int:
    """Print hits, misses and why, and what would be made.

    The exit code is that of the first node that would fail, else 0.
    """
    context = recipe_arguments.context(args)
    if recipe_arguments.shown_by_hydra(context):
        return 0
    from qpipe.commands.plan_text import document
    from qpipe.session.forecasts import run_plan

    plan = run_plan(context)
    if args.json:
        print_json(document(plan))
    else:
        _print(plan)
    return plan.errors[0].exit_code if plan.errors else 0


def _print(plan: RunPlan) -> None:
    from qpipe.commands.plan_text import error_lines, node_lines, preview_lines

    for line in node_lines(plan.nodes):
        say(line)
    counts = plan.counts
    print(
        f"{len(plan.nodes)} nodes: {counts['cached']} cached, {counts['run']} to run, "
        f"{counts['unknown']} unknown until their inputs are made"
    )
    for line in error_lines(plan.nodes):
        say(line)
    for node in plan.nodes:
        if node.preview is not None:
            first, *others = preview_lines(node.preview)
            say("\n".join([f"{node.name}: {first}", *others]))
    for remark in plan.remarks:
        say(f"note: {remark}")
    for job in plan.left_out:
        say(f"left out: {job.name}: {job.error}")
