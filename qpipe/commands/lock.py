"""`qpipe lock`: resolve every hub revision of a recipe to a commit, and write it beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from qpipe.commands.options import Options
from qpipe.commands.output import say
from qpipe.session.plans import Objective, each_draft, pinner
from qpipe.recipe import locking
from qpipe.recipe.draft import RunDraft
from qpipe.recipe.planning import plan
from qpipe.recipe.request import Request


def lock(request: Request, options: Options) -> int:
    """Ask the hub anew, whatever an older lock says. Raises SourceError without a network."""
    asking = replace(pinner(request, options), locked={})

    def handle(draft: RunDraft) -> Sequence[Objective]:
        plan(draft, asking)
        return [None for _ in draft["jobs"]]

    each_draft(request, options, handle)
    if not asking.notes:
        answer = "nothing to lock: every source is local or names its commit"
        print(json.dumps({"lock": None, "sources": {}}) if options.json else answer)
        return 0
    path = locking.write(request.recipe, asking.notes)
    if options.json:
        print(json.dumps({"lock": str(path), "sources": asking.notes}))
    else:
        for label, commit in asking.notes.items():
            say(f"{label} = {commit}")
        print(f"written to {path}; runs of this recipe need no network to resolve them now")
    return 0
