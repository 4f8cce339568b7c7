"""How protocols prepare a text before it is tokenized: one document or several, and their words.

Each way is a name in `PREPARATIONS`, which `qpipe.evaluators.protocols` refers to. Standard
library only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Document:
    """``text`` to tokenize; ``words`` and ``bytes`` are what a mean over these units counts."""

    text: str
    words: int
    bytes: int


def as_it_is(text: str) -> list[Document]:
    """The whole text."""
    return [_document(text)]


def without_final_newline(text: str) -> list[Document]:
    """Drop one final newline, as llama.cpp does of a file given with -f (common/arg.cpp)."""
    return [_document(text.removesuffix("\n"))]


def lines_apart(text: str) -> list[Document]:
    """Lines with an empty line between each two: what GPTQ's datautils.py makes of WikiText-2.

    There the rows of the data set are the lines of the file, line ends included and blank ones
    empty, and they are joined by two newlines.
    """
    rows = [line if line.strip() else "" for line in text.splitlines(keepends=True)]
    return [_document("\n\n".join(rows))]


def wikitext_pages(text: str) -> list[Document]:
    """A document for each page, detokenized: lm-eval's task ``wikitext``.

    Pages are cut at headings of the first level, as in the data set
    EleutherAI/wikitext_document_level; words and bytes are counted before detokenizing, as in
    lm_eval/tasks/wikitext/preprocess_wikitext.py. A text without headings is one page.
    """
    return [
        Document(_detokenized(page), len(re.split(r"\s+", page)), len(page.encode()))
        for page in _pages(text)
    ]


PREPARATIONS: Mapping[str, Callable[[str], Sequence[Document]]] = {
    "as-it-is": as_it_is,
    "without-final-newline": without_final_newline,
    "lines-apart": lines_apart,
    "wikitext-pages": wikitext_pages,
}


def _document(text: str) -> Document:
    return Document(text, len(text.split()), len(text.encode()))


def _pages(text: str) -> list[str]:
    pages: list[list[str]] = [[]]
    for line in text.split("\n"):
        if _is_first_level(line):
            pages.append([])
        pages[-1].append(line)
    joined = ["\n".join(page) for page in pages]
    return [page for page in joined if page.strip()]


def _is_first_level(line: str) -> bool:
    """``= Title =``: with more signs than one a side, it is a section of a page."""
    shrunk = line.replace("= = =", "===").replace("= =", "==").strip()
    return shrunk.startswith("= ") and shrunk.endswith(" =")


# The steps of lm-eval's `wikitext_detokenizer`, in order: (pattern or text, replacement).
_STEPS: Sequence[tuple[str | re.Pattern[str], str]] = (
    ("s '", "s'"),
    (re.compile(r"/' [0-9]/"), "/'[0-9]/"),
    (" @-@ ", "-"),
    (" @,@ ", ","),
    (" @.@ ", "."),
    *((f" {sign} ", f"{sign} ") for sign in ":;.!?,"),
    *(
        (re.compile(rf"{opening}\s*([^{closing}]*?)\s*{closing}"), rf"{left}\1{right}")
        for opening, closing, left, right in (
            (r"\(", r"\)", "(", ")"),
            (r"\[", r"\]", "[", "]"),
            (r"{", r"}", "{", "}"),
            (r"\"", r"\"", '"', '"'),
            (r"'", r"'", "'", "'"),
        )
    ),
    ("= = = =", "===="),
    ("= = =", "==="),
    ("= =", "=="),
    (" ° ", "°"),
    (" \n", "\n"),
    ("\n ", "\n"),
    (" N ", " 1 "),
    (" 's", "'s"),
)


def _detokenized(page: str) -> str:
    for what, replacement in _STEPS:
        if isinstance(what, str):
            page = page.replace(what, replacement)
        else:
            page = what.sub(replacement, page)
    return page
