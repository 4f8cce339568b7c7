"""What is kept of a comparison: tests/data/golden/families/NAME.json.

{"config", "tensors": [[name, shape, centre]]} make the checkpoint again without transformers;
"converted" is llama.cpp's converter's file in F16, "levels" the types of the tensors in the
quantized files, "outcome" what came of the comparison, by the versions in "made_by".
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qpipe.gguf.types import GGMLType
from tests.gguf import samples
from tests.gguf.families import checkpoint
from tests.gguf.families.table import FAMILIES

FOLDER = samples.GOLDEN / "families"
Golden = Mapping[str, Any]


def read(family: str) -> Golden:
    """The golden file of a family."""
    loaded: Golden = json.loads((FOLDER / f"{family}.json").read_text())
    return loaded


def write(family: str, golden: Golden) -> None:
    """Keep it, each tensor and key of metadata in a line of its own."""
    text = json.dumps(golden, indent=1)
    inner = re.compile(r"[\[{][^\[\]{}]*[\]}]")
    text = inner.sub(lambda match: re.sub(r"\n\s*", " ", match[0]), text)
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{family}.json").write_text(text + "\n")


def make(family: str, folder: Path) -> Path:
    """The checkpoint of a family, below ``folder``."""
    golden = read(family)
    stored = [
        checkpoint.Stored(name, tuple(map(int, shape.split("x"))), centre)
        for name, shape, centre in golden["tensors"]
    ]
    return checkpoint.write(folder / family, FAMILIES[family], golden["config"], stored)


def summed(types: Mapping[str, GGMLType]) -> dict[str, Any]:
    """How many tensors of each type a file has, and the digest of `NAME TYPE\\n` in their order."""
    lines = "".join(f"{name} {kind.name}\n" for name, kind in types.items())
    counts = dict(sorted(Counter(kind.name for kind in types.values()).items()))
    return {**counts, "sha256": hashlib.sha256(lines.encode()).hexdigest()[:16]}
