"""In how many ways a score was measured, and what tells them apart.

A name such as ``ppl`` stands for one protocol and one set of tokens. Where rows were measured in
two ways, names say theirs: ``ppl[llamacpp-512]`` and ``ppl[llamacpp-512 n_ctx=256]``. What computed
is part of the way only where one model was measured by two backends: ``ppl[llama.cpp]`` and
``ppl[transformers]``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from qpipe.results.measurement import Evaluation

Way = tuple[Any, ...]
Rows = Sequence[Sequence[Evaluation]]
"""Of each row its measurements."""


def way(evaluation: Evaluation) -> Way:
    """The way in which something was measured, equal for what was measured alike.

    Older reports have no digest of the tokens: the text's digest or name takes its place.
    """
    made = evaluation.measurement
    what = made.on.tokens_sha256 or evaluation.text_digest or made.on.text
    return made.protocol, what, made.by


def labels(rows: Rows) -> Mapping[Way, Mapping[str, str]]:
    """The labels of scores' names, by way and by `Score.key`: none if all rows agree."""
    several: dict[str, dict[Way, str | None]] = {}
    for each in (each for row in rows for each in row):
        for score in each.measurement.scores:
            several.setdefault(score.key, {}).setdefault(way(each), each.measurement.on.text)
    twice = _by_several_backends(rows)
    found: dict[Way, dict[str, str]] = {}
    for key, texts in several.items():
        for of, label in _labels(texts, backends=key in twice).items():
            found.setdefault(of, {})[key] = label
    return found


def _by_several_backends(rows: Rows) -> set[str]:
    """The scores that some model has twice, under one protocol and on the same tokens."""
    found = set()
    for row in rows:
        by: dict[tuple[Any, ...], set[Any]] = {}
        for each in row:
            *how, backend = way(each)
            for score in each.measurement.scores:
                by.setdefault((score.key, *how), set()).add(backend)
        found |= {key for (key, *_), backends in by.items() if len(backends) > 1}
    return found


def _labels(texts: Mapping[Way, str | None], *, backends: bool) -> dict[Way, str]:
    """The shortest words that tell ways apart: protocol, then text, then the text's digest; and
    with ``backends`` what computed. Empty if there is only one way."""
    how = dict.fromkeys(way[:2] for way in texts)
    words = {} if len(how) == 1 else _words({way[:2]: text for way, text in texts.items()})
    by = _backends([way[2] for way in texts]) if backends else {}
    labels = {way: ", ".join(filter(None, [words.get(way[:2]), by.get(way[2])])) for way in texts}
    return {way: label for way, label in labels.items() if label}


def _words(texts: Mapping[Way, str | None]) -> dict[Way, str]:
    short = {way: str(way[0] or "no protocol") for way in texts}
    named = {way: f"{short[way]}, {text}" for way, text in texts.items()}
    exact = {way: f"{named[way]} {str(way[1])[:6]}" for way in texts}
    for labels in (short, named):
        if len(set(labels.values())) == len(texts):
            return labels
    return exact


def _backends(names: Iterable[str | None]) -> dict[str | None, str]:
    """The names of backends to show: without the version, where that tells them apart."""
    whole = {name: str(name or "unknown backend") for name in names}
    short = {name: words.split(" ")[0] for name, words in whole.items()}
    return short if len(set(short.values())) == len(short) else whole
