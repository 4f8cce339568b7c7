"""The verdicts of `qpipe check`, for people."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence

from qpipe.gate.bounds import DROP, KLD, shown
from qpipe.gate.estimates import Estimate
from qpipe.gate.evidence import Evidence
from qpipe.gate.paired_items import PairedItems
from qpipe.gate.verdicts import ACCEPT, GateVerdict, RowVerdict
from qpipe.report import text
from qpipe.report.alike import listed
from qpipe.report.blocks import NARROW

_MEANING = {
    DROP: "drop: accuracy lost, items of all tasks together",
    KLD: "kld: KL divergence in nats a token",
    "ppl": "ppl: rise of perplexity",
}
_HEAD = ("row", "score", "loss [90 %]", "bound", "mde", "verdict")
_SIDES = "llrrrl"
# Of a table that is too wide, what stands in one of its own below.
_BELOW = (3, 4)


def described(gate: GateVerdict, *, width: int | None = None) -> str:
    """Return a line for each loss, then what the reader has to know, and the verdict last; lines of
    ``width``, 80 at least, where names allow it."""
    width = max(NARROW, width or 0)
    lines: list[str] = []
    by_model: dict[str | None, list[RowVerdict]] = {}
    for row in gate.rows:
        by_model.setdefault(row.model, []).append(row)
    for model, rows in by_model.items():
        lines += [*([text.printable(model)] if model and len(by_model) > 1 else [])]
        lines += [*_tables(rows, width), ""]
    for remark in dict.fromkeys(_remarks(gate)):
        lines += textwrap.wrap(
            text.printable(remark), width, subsequent_indent="  ", break_on_hyphens=False
        )
    return "\n".join([*lines, "", f"{gate.verdict} (exit code {gate.exit_code})"])


def _tables(rows: Sequence[RowVerdict], width: int) -> Iterator[str]:
    """The table of some rows, or where that is too wide, two."""
    body = [cells for row in rows for cells in _lines(row)]
    whole = _columns(body, range(len(_HEAD)))
    if max(map(text.width_of, whole.splitlines())) <= width:
        yield whole
        return
    yield _columns(body, [n for n in range(len(_HEAD)) if n not in _BELOW])
    yield ""
    yield _columns(body, (0, 1, *_BELOW))


def _columns(body: Sequence[Sequence[str]], chosen: Sequence[int]) -> str:
    return text.table(
        [_HEAD[n] for n in chosen],
        [[cells[n] for n in chosen] for cells in body],
        right="".join(_SIDES[n] for n in chosen),
    )


def _lines(row: RowVerdict) -> Iterator[list[str]]:
    """A line for each check of a row, and for each task of one of several."""
    name = row.name
    for check in row.checks:
        evidence = check.evidence
        yield [
            name,
            evidence.name,
            _loss(evidence.kind, evidence.estimate),
            shown(evidence.kind, check.bound),
            _size(evidence.kind, evidence.estimate.mde),
            check.verdict,
        ]
        for task, items in evidence.tasks.items() if len(evidence.tasks) > 1 else ():
            yield ["", f"  {task}", _loss(DROP, items), "", _size(DROP, items.mde), ""]
        name = ""


# Kind → the unit in tables and how many of it make 1.
_UNITS = {DROP: (" pp", 100.0), KLD: ("", 1.0), "ppl": (" %", 100.0)}
_MOST_DIGITS = 9


def _loss(kind: str, estimate: Estimate) -> str:
    """A loss with its limits, in as many decimals as show two figures of these."""
    unit, times = _UNITS[kind]
    sides = (estimate.value - estimate.low, estimate.high - estimate.value)
    width = times * min((side for side in sides if side > 0), default=math.inf)
    digits = 3
    if math.isfinite(width):
        digits = min(_MOST_DIGITS, max(1, 1 - math.floor(math.log10(width))))
    sign = "" if kind == KLD else "+"
    value, low, high = (
        # Adding zero makes of -0.0, to which small ones are rounded, 0.0.
        f"{round(times * number, digits) + 0.0:{sign}.{digits}f}" if math.isfinite(number) else "?"
        for number in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value} [{low}, {high}]{unit}"


def _size(kind: str, distance: float) -> str:
    unit, times = _UNITS[kind]
    return f"{times * distance:.2g}{unit}" if math.isfinite(distance) else "?"


def _remarks(gate: GateVerdict) -> Iterator[str]:
    """Say what undecided rows need, what the verdicts rest on, and what the columns mean."""
    several = len({row.model for row in gate.rows}) > 1
    checks = [
        (f"{row.model} {row.name}" if several else row.name, check)
        for row in gate.rows
        for check in row.checks
    ]
    for name, check in checks:
        if check.verdict != ACCEPT:
            yield f"{name} {check.evidence.name}: {check.verdict}, {check.why}"
    yield from (line for name, check in checks for line in _counts(name, check.evidence))
    by_note: dict[str, list[str]] = {}
    for name, check in checks:
        if check.note is not None:
            by_note.setdefault(check.note, []).append(f"{name} {check.evidence.name}")
    yield from (f"{listed(names)}: {note}" for note, names in by_note.items())
    kinds = dict.fromkeys(check.evidence.kind for _, check in checks)
    yield f"against {gate.reference}; " + "; ".join(_MEANING[kind] for kind in kinds)
    yield (
        "[90 %]: beyond either limit lies the truth with 5 % at most; mde: as far beyond its bound "
        "a true loss has to be, to be seen in 4 of 5 such runs"
    )
    if len(checks) > 1:
        yield f"of {len(checks)} checks (Holm) one is a false regression with 5 % at most"


def _counts(name: str, evidence: Evidence) -> Iterator[str]:
    """Count the items that were lost and gained."""
    if isinstance(items := evidence.estimate, PairedItems):
        of = f" of {', '.join(evidence.tasks)}" if len(evidence.tasks) == 1 else ""
        yield (
            f"{name} {evidence.name}: {items.lost:,} lost and {items.gained:,} gained of "
            f"{items.items:,} items{of}; McNemar's p {items.p_mcnemar:.2g}"
        )
