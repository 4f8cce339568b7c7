"""A program that stands in for `ollama`: it takes a Modelfile as the real one would, or says why
not. Usage: program.py create NAME -f FILE."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from qpipe.export.ollama.modelfile import parse


def main() -> int:
    """Read the Modelfile and note what was asked."""
    create, name, flag, file = sys.argv[1:]
    commands = parse(Path(file).read_text())
    sources = [value for command, value in commands if command == "from"]
    missing = [source for source in sources if not Path(source).read_bytes().startswith(b"GGUF")]
    if (create, flag) != ("create", "-f") or missing or "refused" in name:
        print(f"Error: {name} cannot be taken")
        return 1
    print("gathering model components\nsuccess")
    with Path(os.environ["OLLAMA_LOG"]).open("a") as log:
        print(json.dumps({"name": name, "cwd": str(Path.cwd()), "commands": commands}), file=log)
    return 0


if __name__ == "__main__":
    sys.exit(main())
