"""`qpipe lock`: resolve every hub revision of a recipe to a commit, and write it beside it."""

from __future__ import annotations

import argparse

from qpipe.commands import recipe_arguments
from qpipe.commands.output import print_json, say


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """Add the arguments of recipes."""
    recipe_arguments.add(parser, verb)


def run(args: argparse.Namespace) -> int:
    """Ask the hub anew for the commits of a recipe's sources, whatever an older lock file says.

    Raises SourceError without a network.
    """
    context = recipe_arguments.context(args)
    if recipe_arguments.shown_by_hydra(context):
        return 0
    from qpipe.session.plans import pin_sources

    pinned = pin_sources(context)
    if args.json:
        path = None if pinned.lock_file is None else str(pinned.lock_file)
        print_json("lock/1", {"lock": path, "sources": dict(pinned.commits)})
    elif pinned.lock_file is None:
        print("nothing to lock: every source is local or names its commit")
    else:
        for label, commit in pinned.commits.items():
            say(f"{label} = {commit}")
        anew = "runs of this recipe need no network to resolve them now"
        print(f"written to {pinned.lock_file}; {anew}")
    return 0
