"""The tables of a card: files with what they lost, and which to choose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote

from qpipe.export.card.levels import Levels
from qpipe.report import numbers
from qpipe.report.columns import NAMES, STATUS, Column, columns
from qpipe.report.html.data import interval, role
from qpipe.report.markup import piped, plain
from qpipe.results.comparison import Comparison, ModelRow
from qpipe.results.scores import Score

_DIVERGENCE, _NOISE = "kld", "kld_noise"
# What says the same as the divergence in other words.
_LEFT_OUT = ("rms_dp_pct",)
# Scores that mean little without the reference's.
_ABSOLUTE = ("ppl", "word_ppl")
# What is shown without its error.
_PLAIN = ("same_top_pct",)


@dataclass(frozen=True)
class CardFile:
    """A file of a repository: its ``name`` there, the name of the ``row`` that it is of, and its
    bytes."""

    name: str
    row: str | None
    size: int


def files(levels: Levels, listed: Mapping[str, Sequence[CardFile]]) -> Iterator[str]:
    """The lines of the table: a row a model with a link to its file, ``listed`` by the names of
    rows; above them the reference."""
    reference = levels.reference
    first = [reference] if reference is not None and reference not in levels.rows else []
    rows = [*first, *levels.rows]
    drawn = _quality(rows)
    whom = ["for whom"] if levels.key is not None and len(levels.rows) > 1 else []
    yield piped(map(plain, ["type", "size", "bits/weight", *(c.heading for c in drawn), *whom]))
    yield piped(["---", *["---:"] * (2 + len(drawn)), *(["---"] if whom else [])])
    for number, row in enumerate(rows):
        parts = listed.get(row.name, ())
        size = sum(file.size for file in parts) or row.size_bytes
        cells = [
            _size(size),
            "" if row.bits_per_weight is None else f"{row.bits_per_weight:.3f}",
            *(plain(column.cells[number]) for column in drawn),
        ]
        words = "the original" if row in first else levels.sentence(row)
        yield piped([_link(levels.named(row), parts), *cells, *([plain(words)] if whom else [])])


_LEGEND = {
    "kld": "kld: KL divergence of the probabilities of the next token from the original's, in "
    "nats; 0 is no difference",
    "ppl": "ppl: perplexity of the text, lower is better; Δ ppl: its rise over the original's",
    "same_top_pct": "same_top_pct: in how many percent of places the likeliest next token is the "
    "original's",
}


def legend(levels: Levels) -> Iterator[str]:
    """A sentence for each score in the table that not everybody knows."""
    scores = {score.name: score for row in levels.rows for score in row.scores.values()}
    for name, words in _LEGEND.items():
        if name in scores:
            yield words + _of_original(levels, name)


def _of_original(levels: Levels, name: str) -> str:
    """The perplexity of the reference, by which its rise can be judged."""
    scores = {} if levels.reference is None else levels.reference.scores
    values = [score for score in scores.values() if score.name == name and name == "ppl"]
    if len(values) != 1:
        return ""
    return f", which is {numbers.figure(values[0].value, digits=values[0].digits)}"


def choices(levels: Levels, listed: Mapping[str, Sequence[CardFile]]) -> Iterator[str]:
    """The lines of a table by room: for each file on the front, from where on it is the one."""
    if len(levels.front) < 2:
        return
    label = levels.key or ""
    yield piped(["with room for", "choose", plain(label)])
    yield piped(["---:", "---", "---:"])
    for row in levels.front:
        size = sum(file.size for file in listed.get(row.name, ())) or row.size_bytes or 0
        yield piped([_size(size), plain(levels.named(row)), plain(levels.shown(row))])


def _size(count: int | None) -> str:
    """A size that is not broken into two lines."""
    return "" if count is None else numbers.size(count).replace(" ", "&nbsp;")


def _link(name: str, parts: Sequence[CardFile]) -> str:
    """The name of a model as a link to its file, or to the first of several."""
    words = plain(name)
    if not parts:
        return words
    more = f" (and {len(parts) - 1} more)" if len(parts) > 1 else ""
    return f"[{words}]({quote(min(file.name for file in parts))}){more}"


def _quality(rows: Sequence[ModelRow]) -> list[Column]:
    """The columns of what was lost; of a perplexity its rise alone, of a divergence its 95 %
    interval."""
    every = columns(Comparison.of([_of_quality(row) for row in rows]))
    kept = [each for each in every if not each.of_file and each.rank not in (NAMES, STATUS)]
    rises = [each for each in kept if each.heading.startswith("Δ ")]
    return [each for each in kept if not (rises and _name(each) in _ABSOLUTE)]


def _name(column: Column) -> str:
    """The score's name in a heading."""
    return column.heading.partition(" ")[0].partition("[")[0]


def _of_quality(row: ModelRow) -> ModelRow:
    """A row with the scores of quality alone, and the noise of the reference beside it."""
    return replace(
        row,
        measurements=tuple(
            replace(each, measurement=replace(each.measurement, scores=tuple(scores)))
            for each in row.measurements
            if (scores := [*map(_in_short, filter(_is_shown, each.measurement.scores))])
        ),
    )


def _is_shown(score: Score) -> bool:
    return score.name == _NOISE or (role(score) == "quality" and score.name not in _LEFT_OUT)


def _in_short(score: Score) -> Score:
    """A score as the table shows it."""
    if score.name in _PLAIN:
        return replace(score, stderr=None, interval=None, digits=2)
    low, high = interval(score)
    if score.name != _DIVERGENCE or low is None or high is None:
        return score
    return replace(score, stderr=None, interval=(max(low, 0.0), high))
