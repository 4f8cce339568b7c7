"""WikiText-2 raw's test split, as a text and as the data set Salesforce/wikitext has it."""

from __future__ import annotations

import lzma
from pathlib import Path

import pyarrow
from pyarrow import parquet

SHA256 = "173c87a53759e0201f33e0ccf978e510c2042d7f2cb78229d9a50d79b9e7dd08"
COMMIT = "b08601e04326c79dfdd32d625aee71d232d685c3"
FILE = Path("wikitext-2-raw-v1") / "test-00000-of-00001.parquet"


def text() -> str:
    """The text of wiki.test.raw."""
    packed = Path(__file__).parents[1] / "data" / "texts" / "wiki.test.raw.xz"
    return lzma.decompress(packed.read_bytes()).decode()


def rows() -> list[str]:
    """The rows of the data set, by its loading script (wikitext.py, `_generate_examples`): the
    lines of the file with their line ends, and nothing where a line is blank."""
    lines = text().split("\n")
    assert lines.pop() == ""
    return [f"{line}\n" if line.strip() else "" for line in lines]


def write(folder: Path) -> Path:
    """The Parquet file in a folder of the data set."""
    path = folder / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.table({"text": rows()}), path)
    return path
