"""Whatever a model, its files or another person's run.json say of themselves stays words."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from qpipe.report import text
from qpipe.report.markup import cell, escaped, plain
from qpipe.report.render import render, to_terminal
from qpipe.report.rows import comparison
from qpipe.results.comparison import Comparison
from tests.hostile import words
from tests.report.plans import carry_out, demo

pytestmark = pytest.mark.xdist_group("hostile")
few = settings(
    max_examples=25,  # reports of a dozen words each
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # shrinking whole reports takes minutes
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    planned = demo()
    return comparison(planned, carry_out(planned, tmp_path_factory.mktemp("store")))


def named(made: Comparison, word: Callable[[], str]) -> Comparison:
    """The comparison with other words wherever they are somebody's to choose."""
    return Comparison.of(
        [
            replace(
                row,
                name=word(),
                model=word() if number else "",
                format=word(),
                run=word(),
                notes=(word(), word()),
                error=word() if number == 1 else None,
                status="failed" if number == 1 else row.status,
                overrides=(word(),),
                measurements=tuple(
                    replace(each, measurement=replace(each.measurement, by=word(), notes=(word(),)))
                    for each in row.measurements
                ),
            )
            for number, row in enumerate(made.rows)
        ]
    )


class Tags(HTMLParser):
    """How often each tag is there, with the names of its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes |= {name for name, _ in attrs}

    def handle_comment(self, data: str) -> None:
        self.tags["comment"] += 1


@few
@given(st.data())
def test_reports(made: Comparison, data: st.DataObject) -> None:
    from markdown_it import MarkdownIt

    hostile = named(made, lambda: data.draw(words))
    harmless = named(made, lambda: "word")
    title = data.draw(words)

    page, same = render(hostile, "html", title=title), render(harmless, "html", title="word")
    assert Tags(page).tags.keys() <= Tags(same).tags.keys()
    assert Tags(page).attributes <= Tags(same).attributes
    assert Tags(page).tags["script"] == Tags(same).tags["script"]
    _printable(page)

    down = render(hostile, "md", title=title)
    _printable(down)
    shown = Tags(MarkdownIt("commonmark", {"html": True}).enable("table").render(down))
    tables = {"table", "thead", "tbody", "tr", "th", "td"}
    assert shown.tags.keys() <= {"h1", "h2", "p", "ul", "li"} | tables, shown.tags
    assert shown.tags["h1"] == 1

    lines = list(csv.reader(io.StringIO(render(hostile, "csv", title=title))))
    assert len(lines) == 1 + len(hostile.rows)
    assert len({len(line) for line in lines}) == 1
    for field in (field for line in lines for field in line):
        assert not _computes(field)

    document = render(hostile, "json", title=title)
    assert document.isascii()
    assert [row["name"] for row in json.loads(document)["rows"]] == [r.name for r in hostile.rows]

    out = io.StringIO()
    to_terminal(hostile, out)
    _printable(out.getvalue())


def _printable(shown: str) -> None:
    odd = {c for c in shown if not c.isprintable() and c not in "\n\t\u00a0\u2009\u202f\u3000"}
    assert not odd, odd


def _computes(field: str) -> bool:
    """True if a spreadsheet may take a field for a formula."""
    try:
        float(field)
    except ValueError:
        return field.lstrip().startswith(("=", "+", "-", "@", "\t", "\r"))
    return False


@settings(few, max_examples=100)
@given(words)
def test_one_word_in_each_form(word: str) -> None:
    from markdown_it import MarkdownIt

    renderer = MarkdownIt("commonmark", {"html": True}).enable("table")
    for line in (escaped(f"{word}a"), f"a {plain(word)} b"):
        assert Tags(renderer.render(line)).tags == {"p": 1}
    assert not _computes(str(cell(word)))
    _printable(text.printable(word))
    _printable(text.message(word))
