"""The table of docs/gguf.md that says what was compared with what."""

from __future__ import annotations

from collections.abc import Iterator

from tests.gguf import samples
from tests.gguf.families import golden
from tests.gguf.families.table import FAMILIES

PAGE = samples.ROOT / "docs" / "gguf.md"
BEGIN, END = "<!-- families: written by `make families` -->\n", "<!-- end of families -->\n"
HEAD = (
    "| family | class | GGUF | converter | llama-quantize | runs | logits |",
    "|---|---|---|---|---|---|---|",
)


def rendered() -> str:
    """The table, by the golden files."""
    return "\n".join((*HEAD, *map(_row, FAMILIES))) + "\n" + "".join(_notes())


def write() -> None:
    """Put it in its place."""
    before, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text(before + BEGIN + rendered() + END + rest.split(END)[1])


def current() -> str:
    """The table as it stands on the page."""
    return PAGE.read_text().split(BEGIN)[1].split(END)[0]


def _row(family: str) -> str:
    entry, outcome = FAMILIES[family], golden.read(family)["outcome"]
    architecture = golden.read(family)["converted"]["metadata"]["general.architecture"][1]
    cells = (
        entry.title + (f" ({_number(family)})" if entry.oddity else ""),
        entry.model_class,
        architecture,
        "native" if outcome["native"] else "llama.cpp's",
        "=" if outcome["peer"] else "",
        "no" if outcome["loads"] else "yes",
        "" if outcome["distance"] is None else f"{outcome['distance']:.1e}",
    )
    return f"| {' | '.join(cells)} |"


def _notes() -> Iterator[str]:
    for family, entry in FAMILIES.items():
        if entry.oddity:
            yield f"\n({_number(family)}) {entry.oddity}\n"


def _number(family: str) -> int:
    return [name for name, entry in FAMILIES.items() if entry.oddity].index(family) + 1
