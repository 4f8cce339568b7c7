"""`qpipe explain`: for every node that is not cached, what differs from the nearest artifact."""

from __future__ import annotations

import argparse
import json

from qpipe.commands import recipe_arguments
from qpipe.commands.output import print_json, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qpipe.core.key import Json
    from qpipe.session.forecasts import Explanation


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """Add the arguments of recipes."""
    recipe_arguments.add(parser, verb)


def run(args: argparse.Namespace) -> int:
    """Print, for each node that is not cached, what differs, field by field."""
    context = recipe_arguments.context(args)
    if recipe_arguments.shown_by_hydra(context):
        return 0
    from qpipe.commands.plan_text import explanation_document
    from qpipe.session.forecasts import explanations

    nodes, reasons = explanations(context)
    if args.json:
        print_json("explain/1", {"nodes": [explanation_document(reason) for reason in reasons]})
    elif not reasons:
        print(f"all {nodes} nodes are cached")
    else:
        for reason in reasons:
            _print(reason)
    return 0


def _print(reason: Explanation) -> None:
    say(f"{reason.node.name}: {reason.node.why}")
    if reason.nearest is None:
        say(f"  no {reason.node.stage} is in the store yet")
        return
    say(f"  nearest in the store: {reason.nearest.name} {reason.nearest.key[:12]}")
    for difference in reason.differences:
        here, there = _short(difference.here), _short(difference.there)
        say(f"    {difference.field}: here {here}, there {there}")


def _short(value: Json) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "…"
