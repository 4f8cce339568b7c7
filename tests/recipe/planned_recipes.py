"""Plans of the recipes that are named, as one JSON document: what each foresees, without a run."""

from __future__ import annotations

import json
import sys

import qpipe


def main(recipes: list[str]) -> None:
    plans = {}
    for recipe in recipes:
        plan = qpipe.load(recipe, sweep=True).plan()
        made = [node for node in plan.nodes if node.stage == "quantize"]
        plans[recipe] = {
            "errors": [str(node.error) for node in plan.nodes if node.error is not None],
            "sizes": {node.name: node.size for node in made},
            "download": plan.totals.download.bytes,
        }
    print(json.dumps(plans))


if __name__ == "__main__":
    main(sys.argv[1:])
