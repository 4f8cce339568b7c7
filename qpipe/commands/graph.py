"""`qpipe graph`: the graph of a run, a line a node with what it takes, or dot, mermaid or JSON."""

from __future__ import annotations

import argparse

from qpipe.commands import recipe_arguments
from qpipe.commands.output import print_json, say


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """Add the arguments of recipes, and ``--format``."""
    recipe_arguments.add(parser, verb)
    parser.add_argument(
        "--format", choices=("text", "dot", "mermaid"), default="text", help="default: text"
    )


def run(args: argparse.Namespace) -> int:
    """Print the merged graph of all jobs."""
    context = recipe_arguments.context(args)
    if recipe_arguments.shown_by_hydra(context):
        return 0
    from qpipe.commands.graph_text import FORMATS
    from qpipe.session.plans import merged_plan

    graph = merged_plan(context).graph
    if args.json:
        names = ("id", "name", "stage", "params", "engine", "inputs")
        nodes = [{name: getattr(node, name) for name in names} for node in graph.values()]
        print_json("graph/1", {"nodes": nodes})
    else:
        say("\n".join(FORMATS[args.format](graph)))
    return 0
