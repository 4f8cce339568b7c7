"""The columns of a comparison as people read it, shared by every table that is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qpipe.report import numbers
from qpipe.report.columns import COMPANIONS, companions, score_fields
from qpipe.report.text import printable

Row = Mapping[str, Any]

# More figures of a score that is shown: JSON and CSV have them.
_DETAILED = ("kld_",)
# Scores with a unit, and those that are bytes.
_UNITS = {"pp": "t/s", "tg": "t/s", "ttft": "s"}
_SIZES = ("peak_rss", "peak_vram")


def head_and_cells(rows: Sequence[Row]) -> tuple[list[str], list[list[str]], str]:
    """Titles, cells, and a letter a column for the side on which it is aligned (l or r).

    All are `printable`, whoever wrote the names in them.
    """
    names = [row["name"] for row in rows]
    columns: list[tuple[str, str, list[str]]] = []
    if names != [row["format"] for row in rows]:
        columns.append(("name", "l", names))
    columns += [
        ("format", "l", [str(row["format"] or "") for row in rows]),
        ("size", "r", [_of(row["size_bytes"], numbers.size) for row in rows]),
        ("bpw", "r", [_of(row["bits_per_weight"], lambda v: f"{v:.3f}") for row in rows]),
    ]
    fields = score_fields(rows[0]) if rows else []
    for field in fields:
        base, bracket, way = field.partition("[")
        if base.endswith(COMPANIONS) or base.startswith(_DETAILED):
            continue
        suffix = f" {bracket}{way}" if bracket else ""
        stderr, delta, *_, iqr, ratio = companions(field)
        title = f"{base} {_UNITS[base]}" if base in _UNITS else base
        if spread := next((name for name in (stderr, iqr) if name in fields), None):
            title += " ± stderr" if spread == stderr else " (IQR)"
        columns.append((title + suffix, "r", [_score(row, field) for row in rows]))
        if delta in fields:
            columns.append((f"Δ {base}{suffix}", "r", [_delta(row, field) for row in rows]))
        if ratio in fields:
            ratios = [_of(row[ratio], lambda v: f"{v:.2f} ×") for row in rows]
            columns.append((f"{base} / reference{suffix}", "r", ratios))
    columns += [
        ("seconds", "r", [_of(row["seconds"], lambda v: f"{v:.2f}") for row in rows]),
        ("status", "l", [row["status"] for row in rows]),
    ]
    if len({row.get("run") for row in rows}) > 1:
        columns.append(("run", "l", [str(row.get("run") or "") for row in rows]))
    heads = [printable(title) for title, _, _ in columns]
    cells = [[printable(column[2][number]) for column in columns] for number in range(len(rows))]
    return heads, cells, "".join(side for _, side, _ in columns)


def footnotes(rows: Sequence[Row]) -> list[str]:
    """How the rows were measured, a line for each way; what ended early; warnings; failures."""
    named = [(row["name"], m) for row in rows for m in row["measurements"] if m["scores"]]
    measurements = [m for _, m in named]
    lines = list(dict.fromkeys(_how(*each) for each in named if not each[1].get("dominated_by")))
    lines += [
        _dominated(row["name"], m)
        for row in rows
        for m in row["measurements"]
        if m.get("dominated_by")
    ]
    notes = dict.fromkeys(
        note
        for source in (*rows, *measurements)  # older reports have none in rows
        for note in source.get("notes") or ()
    )
    lines += [f"note: {note}" for note in notes]
    lines += [
        f"{row['status']}: {row['name']}: {str(row['error']).splitlines()[0]}"
        for row in rows
        if row["error"]
    ]
    return list(map(printable, lines))


def _of(value: Any, show: Any) -> str:
    return "" if value is None else str(show(value))


def _number(value: float, field: str = "") -> str:
    """Four decimals, and of what is small three figures; sizes and rates as such."""
    base = field.partition("[")[0]
    if base in _SIZES:
        return numbers.size(value)
    if base in _UNITS:
        return f"{value:,.1f}" if value >= 10 else f"{value:.3f}"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4f}" if value == 0 or abs(value) >= 0.1 else f"{value:#.3g}"


def _score(row: Row, field: str) -> str:
    if row[field] is None:
        return ""
    stderr, *_, iqr, _ = companions(field)
    shown = ("≈ " if field in row.get("cut_short", ()) else "") + _number(row[field], field)
    if (error := row.get(stderr)) is not None:
        return f"{shown} ± {_number(error, field)}"
    return shown if (spread := row.get(iqr)) is None else f"{shown} ({_number(spread, field)})"


def _delta(row: Row, field: str) -> str:
    """With its 95 % interval or standard error where there is one; else in percent of the
    reference too."""
    _, delta, stderr, low, high, *_ = companions(field)
    difference = row[delta]
    if difference is None:
        return ""
    if row.get(low) is not None and row.get(high) is not None:
        return f"{difference:+.4f} [{row[low]:+.4f}, {row[high]:+.4f}]"
    if row.get(stderr) is not None:
        about = "≈ " if delta in row.get("cut_short", ()) else ""
        return f"{about}{difference:+.4f} ± {_number(row[stderr])}"
    reference = None if row[field] is None else row[field] - difference
    percent = f" ({difference / reference:+.2%})" if reference else ""
    return f"{difference:+.4f}{percent}"


def _dominated(name: str, measurement: Mapping[str, Any]) -> str:
    by, (low, high) = measurement["dominated_by"], measurement["interval"]
    better = f"{_number(by['difference'])} nats a token"
    surely = f"{_number(by['difference_at_least'])} or more with {by['confidence']:.0%} confidence"
    return (
        f"≈ {name}, {measurement['metric']}: {measurement['sampling']} as dominated by "
        f"{by['name']}, which is no larger and better by {better} ({surely}); its scores are "
        f"estimates, kld from {_number(low)} to {_number(high)} (95%)"
    )


def _how(name: str, measurement: Mapping[str, Any]) -> str:
    """The same for all models, but for one that was measured on a part of the text."""
    of = f"{name}, " if measurement.get("sampling") else ""
    what = measurement["metric"] or measurement["stage"]
    words = [f"{of}{what}: {measurement['protocol'] or ''}"]
    if measurement["text"]:
        words[0] += f" on {measurement['text']}"
    if measurement.get("sampling"):
        words.append(measurement["sampling"])
    elif measurement["tokens_scored"]:
        words.append(f"{measurement['tokens_scored']:,} tokens scored")
    if measurement.get("items"):
        words.append(f"{measurement['items']:,} items; Δ with its 95 % interval, item by item")
    if measurement["metric"] == "logprobs":
        words.append("its kld is the reference's own noise")
    words += [measurement[name] for name in ("backend", "machine") if measurement[name]]
    return "; ".join(words)
