"""The pages for people that are written from the rules."""

from __future__ import annotations

from pathlib import Path

from qpipe.advice.page import PAGES, page
from qpipe.advice.rulebook import rulebook
from qpipe.errors import StoreError
from qpipe.session.advising.published import published


def pages() -> dict[str, str]:
    """The pages by the names of their files."""
    book, known = rulebook(), published()
    return {name: page(book, known, language) for language, name in PAGES.items()}


def write(folder: str | Path) -> list[Path]:
    """Write the pages into a folder, and return their paths. Raises StoreError where that cannot
    be."""
    written = []
    for name, words in pages().items():
        path = Path(folder) / name
        try:
            path.write_text(words, encoding="utf-8")
        except OSError as error:
            raise StoreError(f"{folder}: cannot be written to ({error.strerror})") from None
        written.append(path)
    return written
