"""Tells which modules a worker has imported, where TEST_LOADED names a folder for that."""

import atexit
import json
import os
import sys
from pathlib import Path


def _tell(folder: str) -> None:
    jobs = [Path(argument).name for argument in sys.argv if "/jobs/" in argument]
    if jobs:
        names = sorted({name.partition(".")[0] for name in sys.modules})
        Path(folder, f"{jobs[0]}.json").write_text(json.dumps(names))


if "TEST_LOADED" in os.environ:
    atexit.register(_tell, os.environ["TEST_LOADED"])
