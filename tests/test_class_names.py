"""One name for one thing: no two public classes of qpipe have the same."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "qpipe"


def test_each_public_class_has_a_name_of_its_own() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        for item in ast.walk(ast.parse(path.read_text())):
            if isinstance(item, ast.ClassDef) and not item.name.startswith("_"):
                places[item.name].append(f"{path}:{item.lineno}")
    faults = [f"{name}: {', '.join(where)}" for name, where in places.items() if len(where) > 1]
    assert len(places) > 300
    assert not faults, "\n".join(faults)
