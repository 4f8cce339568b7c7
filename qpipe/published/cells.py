"""Rows of a reproduction as cells of a table, and its lines for people."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from qpipe.published.load import TableFile
from qpipe.published.reproduction import ReproducedValue, Reproduction
from qpipe.published.verdict import shown, signed
from qpipe.report.numbers import named

HEAD = ("format", "metric", "published", "ours", "difference", "tolerance", "verdict")
SIDES = "llrrrrl"

_PREDICTED = "*"
# Of parts whose reasons have figures in them, what is said once for all rows.
_GENERAL = {
    "sampling": "1.96 standard errors of both sides",
    "prediction": "what config.json does not tell of a file: names, templates, the vocabulary",
}
_MOST = 6


class ModelGroup(NamedTuple):
    """Rows of one model in one table."""

    file: TableFile
    model: str
    rows: Sequence[ReproducedValue]


def grouped(rows: Iterable[ReproducedValue]) -> list[ModelGroup]:
    """Rows by table and model, in their order."""
    groups: dict[tuple[str, str], list[ReproducedValue]] = {}
    for row in rows:
        key = (str(row.published.file.path), row.published.value.row.model or "")
        groups.setdefault(key, []).append(row)
    return [ModelGroup(own[0].published.file, model, own) for (_, model), own in groups.items()]


def cells(row: ReproducedValue) -> list[str]:
    """The cells of a row under `HEAD`."""
    value, verdict = row.published.value, row.verdict
    unit = f" {named(value.metric.unit)}" if value.metric.unit else ""
    stderr = value.printed.stderr
    published = f"{value.printed.value}{unit}" + (f" ± {stderr}" if stderr else "")
    return [
        value.row.format,
        value.name,
        published,
        _ours(row),
        "" if verdict.difference is None else signed(value, verdict.difference),
        "" if verdict.allowed is None else shown(value, verdict.allowed.total),
        verdict.word.replace("_", " "),
    ]


def _ours(row: ReproducedValue) -> str:
    value, ours = row.published.value, row.verdict.ours
    if ours is None:
        return ""
    half = ours.half_width
    words = shown(value, ours.value) + (f" ± {shown(value, half)}" if half else "")
    return words + _PREDICTED if ours.predicted else words


def with_figures(rows: Iterable[ReproducedValue]) -> list[ReproducedValue]:
    """The rows that have a figure of ours."""
    return [row for row in rows if row.verdict.ours is not None]


def reasons(rows: Iterable[ReproducedValue]) -> Iterator[str]:
    """A line for each verdict and reason of rows that a table of figures does not explain by
    itself. Sources that are missing for one reason are told together."""
    groups: dict[tuple[str, str], tuple[dict[str, None], list[ReproducedValue]]] = {}
    for row in rows:
        if row.word not in ("reproduced", "off"):
            about, why = _split(row.verdict.why)
            sources, own = groups.setdefault((row.word, why), ({}, []))
            own.append(row)
            sources |= {about: None} if about else {}
    for (word, why), (sources, own) in groups.items():
        about = f"{few([*sources])}: " if sources else ""
        if word == "would_run" and len(own) > 1:  # nodes are counted for each by itself
            about = "each: "
        yield f"{word.replace('_', ' ')}, {_counted(own)}: {about}{why}"


def _split(why: str) -> tuple[str, str]:
    """The source that a reason is about, and the reason."""
    found = re.match(r"((?:model|dataset):\S+): (.*)", why, re.DOTALL)
    return (found[1], found[2]) if found else ("", why)


def _counted(rows: Sequence[ReproducedValue]) -> str:
    """The rows in few words: ``2 values (Q4_0 ppl, Q4_0 kld)``; of many, metrics and formats."""
    values = [row.published.value for row in rows]
    names = [*dict.fromkeys(f"{value.row.format} {value.name}" for value in values)]
    count = f"{len(rows)} value{'s' * (len(rows) != 1)}"
    if len(names) <= _MOST + 1:
        return f"{count} ({', '.join(names)})"
    metrics = few([*dict.fromkeys(value.name for value in values)])
    return f"{count} ({metrics} of {few([*dict.fromkeys(value.row.format for value in values)])})"


def few(names: Sequence[str], most: int = _MOST) -> str:
    """Names, of many the first, and how many more there are."""
    if len(names) <= most + 1:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"


def off_line(row: ReproducedValue) -> str:
    """A row that is off, with the parts of its tolerance."""
    value = row.published.value
    parts = " + ".join(_part(row))
    return (
        f"off: {value.row.format} {value.name} ({row.published.place}): {row.verdict.why}; "
        f"tolerance: {parts}"
    )


def _part(row: ReproducedValue) -> Iterator[str]:
    value = row.published.value
    for part in row.verdict.allowed.parts if row.verdict.allowed else ():
        why = f" ({part.why})" if part.name in ("spread", "sampling", "prediction") else ""
        yield f"{part.name} {shown(value, part.size)}{why}"


def tolerances(rows: Iterable[ReproducedValue]) -> str:
    """Describe what the tolerances of rows are made of, in one sentence; empty without any."""
    names: dict[str, dict[str, None]] = {}
    for row in rows:
        for part in row.verdict.allowed.parts if row.verdict.allowed else ():
            why = _GENERAL.get(part.name, part.why) if part.size else part.why
            names.setdefault(part.name, {})[why] = None
    words = [f"{name} ({'; '.join(whys)})" for name, whys in names.items()]
    return f"tolerance: {', '.join(words)}" if words else ""


def marks(rows: Iterable[ReproducedValue]) -> list[str]:
    """Say what the marks beside figures mean, as far as there are any."""
    rows = list(rows)
    ours = [row.verdict.ours for row in rows if row.verdict.ours]
    words = []
    if any(each.half_width for each in ours):
        words.append("±: of published values the standard error as printed, of ours 95 %")
    if any(each.predicted for each in ours):
        words.append(f"{_PREDICTED} predicted from config.json, without weights")
    return words


def summary(reproduction: Reproduction) -> str:
    """Count the rows by verdict, in words."""
    counts = ", ".join(f"{n} {w.replace('_', ' ')}" for w, n in reproduction.counts.items())
    values = f"{len(reproduction.rows)} value{'s' * (len(reproduction.rows) != 1)}: {counts}"
    left = reproduction.left_out
    return f"{values}; {left} of other kinds left out" if left else values


def source(file: TableFile) -> str:
    """The source of a table in a line."""
    own = file.table.source
    revision = "no revision" if own.revision is None else f"revision {own.revision}"
    return ", ".join(filter(None, [own.document, own.authors, own.date, revision, own.url]))


def facts(reproduction: Reproduction) -> Mapping[str, str]:
    """Say by what and where our figures came about."""
    about = reproduction.about
    tools = ", ".join(f"{n} {', '.join(of)}" for n, of in about.get("tools", {}).items())
    own = about.get("machine", {})
    machine = ", ".join(str(v) + " cores" * (name == "cores") for name, v in own.items() if v)
    words = {
        "command": about.get("command", ""),
        "run": reproduction.run or "",
        "versions": tools or f"qpipe {about.get('qpipe', '')}",
        "machine": machine,
        "date": about.get("date", ""),
    }
    return {name: text for name, text in words.items() if text}
