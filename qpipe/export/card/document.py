"""The card itself: README.md of a repository, or card.md alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from urllib.parse import quote

from qpipe import __version__
from qpipe.export.card import tables
from qpipe.export.card.content import CardContent
from qpipe.export.card.front_matter import front_matter
from qpipe.export.card.making import HUB, making, measuring
from qpipe.export.card.picture import alternative
from qpipe.export.card.usage import usage
from qpipe.report.markup import escaped, plain
from qpipe.report.text import printable


def document(content: CardContent) -> str:
    """Return the whole card in Markdown."""
    sections = (
        ("Files", _files(content)),
        ("Which file to choose", tables.choices(content.levels, content.listed)),
        ("How to run it", usage(content)),
        ("Prompt format", _prompt(content)),
        ("How it was made", making(content)),
        ("How it was measured", _measured(content)),
        ("Verify", _verify(content)),
        ("Licence", _licence(content)),
    )
    lines = [f"# {plain(content.title)}", "", *_lead(content)]
    for title, body in sections:
        lines += _section(title, body)
    return front_matter(content) + "\n" + "\n".join(lines).rstrip() + "\n"


def _section(title: str, body: Iterable[str]) -> list[str]:
    """A section; nothing where it has no body."""
    lines = [*body]
    return [f"## {title}", "", *"\n".join(lines).strip("\n").split("\n"), ""] if lines else []


def _lead(content: CardContent) -> Iterator[str]:
    base, name = content.base_model, plain(content.name)
    of = f"[{plain(base)}]({HUB}/{quote(base)})" if base else name
    kind = "GGUF files" if content.gguf else plain(content.models[0].format)
    measured = "quantized and measured" if content.levels.key else "quantized"
    yield f"{kind} of {of}, {measured} with qpipe {__version__}."
    yield ""
    if display := content.licence.terms.display:
        yield f"**{plain(display)}**"
        yield ""


def _files(content: CardContent) -> Iterator[str]:
    yield from tables.files(content.levels, content.listed)
    yield ""
    if content.levels.key is None:
        yield "What these files lost beside the original was not measured."
        yield ""
    yield from (f"- {line}" for line in tables.legend(content.levels))
    yield ""
    if content.picture is not None:
        yield f"![{plain(alternative(content.levels))}]({quote(content.picture)})"
        yield ""
    for name, words in content.extras.items():
        yield f"- {_link(name)}: {plain(words)}"


def _link(name: str) -> str:
    """A link to a file of the repository, whatever its name is."""
    return f"[{plain(name)}]({quote(name, errors='replace')})"


def _prompt(content: CardContent) -> Iterator[str]:
    if content.prompt is None:
        yield "The model has no chat template: it goes on with the text that it is given."
        return
    prompt = printable(content.prompt, lines=True)
    fence = "`" * max(3, 1 + _longest_run(prompt))
    yield "By the chat template in the file:"
    yield ""
    yield from (f"{fence}text", prompt.rstrip("\n"), fence)


def _longest_run(text: str) -> int:
    """The length of the longest run of backticks."""
    longest = run = 0
    for character in text:
        run = run + 1 if character == "`" else 0
        longest = max(longest, run)
    return longest


def _measured(content: CardContent) -> Iterator[str]:
    if content.levels.key is None:
        return
    yield from measuring(content)


def _verify(content: CardContent) -> Iterator[str]:
    if not content.verified:
        return
    yield "`SHA256SUMS` has the digest of every file, `provenance.json` what each was made from:"
    yield ""
    yield from ("```bash", "sha256sum -c SHA256SUMS", "qpipe verify .", "```")


def _licence(content: CardContent) -> Iterator[str]:
    licence, texts = content.licence, content.source.texts
    terms = licence.terms
    if licence.identifier is None:
        yield "The source does not say its licence."
    else:
        link = f" ([its text]({terms.source}))" if terms.source else ""
        yield f"{escaped(terms.name)}{link}, as the original: {plain(terms.conditions)}."
    if texts:
        names = ", ".join(_link(path.name) for path in texts)
        yield ""
        yield f"The source's own text: {names}."
    if terms.notice:
        yield ""
        yield plain(terms.notice)
