"""Whatever a model says of itself stays words in its card."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import yaml
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from qpipe.export.card.document import document
from qpipe.export.licences import Licence
from qpipe.export.source_model import SourceModel
from tests.export.card.contents import content, kld, levels, row
from tests.hostile import words


def card(title: str, note: str, licence: str, prompt: str, file: str) -> str:
    ranked = levels(row("Q8_0", 80, kld(0.001), notes=(note,)), row("Q4_0", 40, kld(0.1)))
    source = SourceModel(licence=Licence("other", licence))
    of = content(ranked, name=title, source=source)
    return document(replace(of, prompt=prompt, extras={file: note}))


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.links: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.links |= {str(value) for name, value in attrs if name in ("href", "src")}


def shown(text: str) -> Tags:
    body = text.split("---\n", 2)[2]
    return Tags(MarkdownIt("commonmark", {"html": True}).enable("table").render(body))


@settings(max_examples=60, deadline=None, derandomize=True, phases=[Phase.generate])
@given(st.tuples(words, words, words, words, words))
def test_a_card(odd: tuple[str, str, str, str, str]) -> None:
    title, note, licence, prompt, file = odd
    text = card(title, note, licence, prompt, file)
    plain = shown(card("word", "word", "word", "word", "word"))
    assert shown(text).tags == plain.tags
    assert not {c for c in text if not c.isprintable() and c not in "\n\t"}
    yaml.safe_load(text.split("---\n")[1])
