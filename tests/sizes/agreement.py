"""How far predictions are from what is published: the table in docs/sizes.md.

`python -m tests.sizes.agreement` writes it anew; a test fails where it is not current.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from qpipe import sizes
from qpipe.sizes import PredictedSize
from tests.sizes.published_files import FILES
from tests.sizes.published_packed import PACKED
from tests.sizes.published_rows import LLAMA_2_70B, LLAMA_3_1_8B, LLAMA_3_8B

DOCUMENT = Path(__file__).parents[2] / "docs" / "sizes.md"
_BEGIN, _END = "<!-- agreement -->\n", "<!-- end -->"
_GIB = 1 << 30


def predicted(model: str, kind: str, imatrix: bool) -> PredictedSize:
    shape = sizes.shapes(model)
    assert shape is not None, model
    matrix = "imatrix.gguf" if imatrix else None
    return sizes.predict(shape, {"method": "gguf", "type": kind, "imatrix": matrix})


def table_of_readme() -> Iterator[tuple[str, float, float]]:
    """Type, published bits per weight, and ours."""
    for kind, matrix, _, bits in LLAMA_3_1_8B:
        yield kind, bits, predicted("meta-llama/Llama-3.1-8B", kind, matrix).bits_per_weight


def gib(model: str) -> Iterator[tuple[str, float, float]]:
    """Type, published GiB of a file, and ours."""
    rows = LLAMA_3_8B if "Llama-3" in model else LLAMA_2_70B
    for kind, matrix, size in rows:
        yield kind, size, predicted(model, kind, matrix).file_bytes / _GIB


def files() -> Iterator[tuple[str, float, float]]:
    """File, published bytes, and ours."""
    for model, kind, size in FILES:
        yield f"{model} {kind}", size, predicted(model, kind, False).file_bytes


def packed() -> Iterator[tuple[str, float, float]]:
    """Checkpoint, published bytes of tensors, and ours."""
    for model, asked, size in PACKED:
        shape = sizes.shapes(model)
        assert shape is not None, model
        said = sizes.predict(shape, asked)
        yield f"{model} {said.format}", size, said.tensor_bytes


def rendered() -> str:
    """The table."""
    lines = ["| published | values | farthest off | |", "|---|--:|--:|---|"]
    sources = (
        ("Llama 3.1 8B, bits per weight (quantize/README.md)", table_of_readme()),
        ("Llama 3 8B, GiB (perplexity/README.md)", gib("meta-llama/Meta-Llama-3-8B")),
        ("Llama 2 70B, GiB (old numbers of perplexity/README.md)", gib("meta-llama/Llama-2-70b")),
        ("GGUF files on the hub, bytes", files()),
        ("packed checkpoints on the hub, bytes of tensors", packed()),
    )
    for title, rows in sources:
        listed = [(abs(ours / theirs - 1), name) for name, theirs, ours in rows]
        most, name = max(listed)
        lines.append(f"| {title} | {len(listed)} | {100 * most:.3f} % | {name} |")
    return "\n".join(lines) + "\n"


def current() -> str:
    """The table as the document has it."""
    found = re.search(f"{_BEGIN}(.*){_END}", DOCUMENT.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


if __name__ == "__main__":
    text = DOCUMENT.read_text()
    DOCUMENT.write_text(text.replace(_BEGIN + current(), _BEGIN + rendered()))
