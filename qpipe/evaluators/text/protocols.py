"""Named, versioned ways to measure a text: two numbers compare only under one protocol.

A protocol is data. ``label`` is what results and reports carry: it names every departure from the
named protocol, so that no variant can be taken for the real thing. Before it is tokenized, a text
is prepared, as one document or several, in a way that is a name in `PREPARATIONS`. Standard library
only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from qpipe.errors import UsageError, nearest

LEAST = 3
"""The least ``n_ctx`` of a recipe: BOS or a first token, and two more."""


LINES_APART = "lines-apart"
_APART = "\n\n"


@dataclass(frozen=True)
class Protocol:
    """A way to cut a text into windows, and to choose the tokens that are scored.

    ``n_ctx``    tokens the model sees per window, BOS included
    ``stride``   tokens from one window to the next; None: n_ctx, so windows do not overlap
    ``scored``   ``second-half``: tokens n_ctx//2 + 1 … n_ctx - 1 of each window;
                 ``all``: every token but the window's first;
                 ``rolling``: every token of a document once, the first after a prefix token (BOS,
                 or EOS where there is none), the last ones in a window that reaches back, as far
                 as n_ctx allows
    ``bos``      ``replace``: BOS takes the place of each window's first token; ``prepend``: BOS
                 stands before n_ctx - 1 tokens of text; both only if the vocabulary adds a BOS.
                 ``none``: windows are text alone
    ``text_bos`` whether the text as a whole is tokenized with BOS before it
    ``text``     how the text is prepared: a name in `PREPARATIONS`
    ``unit``     what the mean is taken over; words and bytes need every token scored: ``rolling``
    ``chunks``   at most this many windows from the beginning of the text; None: all
    """

    name: str
    version: int
    n_ctx: int
    scored: Literal["second-half", "all", "rolling"]
    bos: Literal["replace", "prepend", "none"]
    text_bos: bool
    text: str
    unit: Literal["token", "word", "byte"] = "token"
    stride: int | None = None
    chunks: int | None = None

    @property
    def first(self) -> int:
        """The first position of a window whose logits are used; they predict the next token.

        Of a ``rolling`` protocol, of the first window of a document.
        """
        return self.n_ctx // 2 if self.scored == "second-half" else 0

    @property
    def label(self) -> str:
        """Name and departures, e.g. ``llamacpp-512 n_ctx=256 chunks=120``."""
        parts = [self.name]
        if self.version != 1:
            parts.append(f"v{self.version}")
        base = PROTOCOLS[self.name]
        parts += [
            f"{name}={getattr(self, name)}"
            for name in ("n_ctx", "chunks")
            if getattr(self, name) != getattr(base, name)
        ]
        return " ".join(parts)

    def most_scored(self, sizes: Sequence[int]) -> int:
        """An upper bound of the number of tokens scored, for documents of so many bytes.

        A token is taken for a byte at least, but for BOS and a space that a SentencePiece
        vocabulary may put first; and windows for full of the text.
        """
        most = sum(size + 2 for size in sizes)
        if self.scored == "rolling":
            return most
        width = self.n_ctx - (self.bos == "prepend")
        stride = self.stride or width
        windows = (most - width) // stride + 1 if most >= width else 0
        if self.chunks is not None:
            windows = min(windows, self.chunks)
        return windows * (self.n_ctx - 1 - self.first)

    def with_overrides(self, *, n_ctx: int | None = None, chunks: int | None = None) -> Protocol:
        """This protocol with another context or fewer windows; None keeps what there is.

        Raises UsageError for values under which no token would be scored.
        """
        changed = replace(
            self,
            n_ctx=self.n_ctx if n_ctx is None else n_ctx,
            chunks=self.chunks if chunks is None else chunks,
        )
        if changed.scored == "rolling" and chunks is not None:
            raise UsageError(
                f"chunks={chunks}: protocol {self.name} is a mean over the {self.unit}s of the "
                "whole text; leave chunks out, and give a shorter text"
            )
        if changed.n_ctx < 2 or changed.n_ctx - 1 - changed.first < 1:
            raise UsageError(
                f"n_ctx={changed.n_ctx} leaves protocol {self.name} no token to score: "
                "give at least 3"
            )
        if changed.chunks is not None and changed.chunks < 1:
            raise UsageError(f"chunks={changed.chunks}: give 1 or more, or leave it out for all")
        return changed


_ALL = (
    # llama.cpp, tools/perplexity/perplexity.cpp, `perplexity`.
    Protocol(
        name="llamacpp-512",
        version=1,
        n_ctx=512,
        scored="second-half",
        bos="replace",
        text_bos=True,
        text="without-final-newline",
    ),
    # The papers': GPTQ's datautils.py (`get_wikitext2`) and llama.py (`llama_eval`).
    Protocol(
        name="gptq-2048",
        version=1,
        n_ctx=2048,
        scored="all",
        bos="none",
        text_bos=True,
        text=LINES_APART,
    ),
    # AQLM's src/datautils.py and main.py (`perplexity_eval`), at Llama 2's context.
    Protocol(
        name="aqlm-4096",
        version=1,
        n_ctx=4096,
        scored="all",
        bos="none",
        text_bos=True,
        text=LINES_APART,
    ),
    # lm-eval's task `wikitext`: lm_eval/utils.py, `get_rolling_token_windows`. lm-eval takes the
    # model's own context unless told; published figures are mostly of 2048.
    Protocol(
        name="lm-eval-word",
        version=1,
        n_ctx=2048,
        scored="rolling",
        bos="none",
        text_bos=False,
        text="wikitext-pages",
        unit="word",
    ),
    # Bits per byte of the text as it is: comparable across tokenizers.
    Protocol(
        name="bytes",
        version=1,
        n_ctx=2048,
        scored="rolling",
        bos="none",
        text_bos=False,
        text="as-it-is",
        unit="byte",
    ),
)
PROTOCOLS: Mapping[str, Protocol] = {protocol.name: protocol for protocol in _ALL}


def protocol(name: str) -> Protocol:
    """The protocol of that name; UsageError with the near misses if there is none."""
    if name not in PROTOCOLS:
        raise UsageError(f"evaluate.protocol: no protocol {name!r}; {nearest(name, PROTOCOLS)}")
    return PROTOCOLS[name]


def of_label(label: str) -> Protocol:
    """The protocol that results so label (`Protocol.label`). Raises UsageError for another text."""
    name, *words = label.split(" ")
    departures = dict(word.split("=") for word in words if "=" in word)
    return protocol(name).with_overrides(**{n: int(value) for n, value in departures.items()})


@dataclass(frozen=True)
class PreparedDocument:
    """``text`` to tokenize; ``words`` and ``bytes`` are what a mean over these units counts."""

    text: str
    words: int
    bytes: int


def as_it_is(text: str) -> list[PreparedDocument]:
    """The whole text."""
    return [_document(text)]


def without_final_newline(text: str) -> list[PreparedDocument]:
    """Drop one final newline, as llama.cpp does of a file given with -f (common/arg.cpp)."""
    return [_document(text.removesuffix("\n"))]


def lines_apart(text: str) -> list[PreparedDocument]:
    """Lines with an empty line between each two: what GPTQ's datautils.py makes of WikiText-2.

    There the rows of the data set are the lines of the file, line ends included and blank ones
    empty, and they are joined by two newlines.
    """
    rows = [line if line.strip() else "" for line in text.splitlines(keepends=True)]
    return [_document(_APART.join(rows))]


def wikitext_pages(text: str) -> list[PreparedDocument]:
    """A document for each page, detokenized: lm-eval's task ``wikitext``.

    Pages are cut at headings of the first level, as in the data set
    EleutherAI/wikitext_document_level; words and bytes are counted before detokenizing, as in
    lm_eval/tasks/wikitext/preprocess_wikitext.py. A text without headings is one page.
    """
    return [
        PreparedDocument(_detokenized(page), len(re.split(r"\s+", page)), len(page.encode()))
        for page in _pages(text)
    ]


PREPARATIONS: Mapping[str, Callable[[str], Sequence[PreparedDocument]]] = {
    "as-it-is": as_it_is,
    "without-final-newline": without_final_newline,
    LINES_APART: lines_apart,
    "wikitext-pages": wikitext_pages,
}


def prepared(
    protocol: Protocol, text: str, rows: Sequence[str] | None = None
) -> Sequence[PreparedDocument]:
    """The documents of a text, prepared as the protocol says.

    ``rows`` are the records of a data set, of which ``text`` was put together: where the papers
    join rows, these are what they join, as GPTQ's datautils.py does with sentences of the Penn
    Treebank too.
    """
    if rows is not None and protocol.text == LINES_APART:
        return [_document(_APART.join(rows))]
    return PREPARATIONS[protocol.text](text)


def _document(text: str) -> PreparedDocument:
    return PreparedDocument(text, len(text.split()), len(text.encode()))


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
