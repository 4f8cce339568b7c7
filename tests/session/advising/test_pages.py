"""docs/choosing.md and its Chinese twin are what the rules say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from qpipe.advice.rulebook import rulebook
from qpipe.errors import StoreError
from qpipe.session.advising.pages import pages, write

DOCS = Path(__file__).parents[3] / "docs"


def test_the_pages_are_up_to_date() -> None:
    for name, words in pages().items():
        kept = (DOCS / name).read_text(encoding="utf-8")
        assert words == kept, f"docs/{name}: make reference"


def test_both_pages_have_every_rule_and_every_source() -> None:
    book = rulebook()
    english, chinese = (pages()[name] for name in ("choosing.md", "choosing.zh.md"))
    for rule in book.rules:
        assert rule.says.en in english and rule.says.zh in chinese, rule.id
        assert book.source(rule).url in english and book.source(rule).url in chinese
    cited = {*map(int, re.findall(r"\[(\d+)\]$", english, re.M))}
    assert cited == {*map(int, re.findall(r"\[(\d+)\]$", chinese, re.M))}


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be written to"):
        write(tmp_path / "none")
