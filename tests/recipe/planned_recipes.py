"""Plans of the recipes that are named, as one JSON document: what each foresees, without a run."""

from __future__ import annotations

import json
import sys
from typing import Any

import qpipe


def planned(recipe: str) -> dict[str, Any]:
    plan = qpipe.load(recipe, sweep=True).plan()
    sources = [node for node in plan.nodes if node.source_kind is not None]
    return {
        "errors": [str(node.error) for node in plan.nodes if node.error is not None],
        "sizes": {node.name: node.size for node in plan.nodes if node.stage == "quantize"},
        "model": next(node.download for node in sources if node.source_kind == "model"),
        "texts": sorted(node.name for node in sources if node.source_kind != "model"),
        "notes": list(plan.notes),
    }


if __name__ == "__main__":
    print(json.dumps({recipe: planned(recipe) for recipe in sys.argv[1:]}))
