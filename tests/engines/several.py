"""`python -m tests.engines.several FOLDER`: runs one after the other in one process, each stage in
it too, so that torch and the engines are imported once.

FOLDER has runs.json, the arguments of each run; answers.json says of each, in order, its exit code
and the document that the run left.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

# As workers have it: threads of two processes that spin take each other's cores.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from qpipe import cli


def answer(arguments: list[str]) -> dict[str, Any]:
    """The exit code of a run and its document, which ends what engines print to stdout."""
    printed = StringIO()
    with redirect_stdout(printed):
        code = cli.main([*arguments, "executor=inline", "--json"])
    text = "\n" + printed.getvalue()
    return {"code": code, "document": json.loads(text[text.rindex("\n{\n") :])}


def main(folder: Path) -> None:
    """Run all of them, whatever fails."""
    runs = json.loads((folder / "runs.json").read_bytes())
    (folder / "answers.json").write_text(json.dumps([answer(run) for run in runs]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
