"""A docstring opens with a verb, or with the thing that is returned."""

from __future__ import annotations

import ast
import re
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "qpipe"
OPENINGS = {
    *("What", "Whether", "How", "Of", "By", "As", "With", "That", "Those", "Where", "Which", "Who"),
}


def test_docstrings_name_what_they_are_about() -> None:
    faults = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for item in ast.walk(ast.parse(path.read_text())):
            if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                words = re.match(r"\W*(\w+).*", ast.get_docstring(item) or "")
                if words and words[1] in OPENINGS:
                    faults.append(f"{path}:{item.lineno}: {words[0]}")
    assert not faults, "\n".join(faults)
