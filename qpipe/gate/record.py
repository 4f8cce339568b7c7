"""A verdict as plain data, as `qpipe check --json` prints it."""

from __future__ import annotations

import math
from typing import Any

from qpipe.gate.paired_items import PairedItems
from qpipe.gate.verdicts import GateVerdict, LossVerdict, RowVerdict


def record(gate: GateVerdict) -> dict[str, Any]:
    """Return the fields of the form ``check``: losses and bounds as shares (1pp and 1 % are 0.01)
    and nats, infinite ones as null."""
    return {
        "verdict": gate.verdict,
        "exit_code": gate.exit_code,
        "reference": gate.reference,
        "bounds": gate.bounds.given,
        "equivalent": gate.bounds.equivalent,
        "rows": [_row(row) for row in gate.rows],
    }


def _row(row: RowVerdict) -> dict[str, Any]:
    return {
        "name": row.name,
        "model": row.model,
        "verdict": row.verdict,
        "checks": [_check(each) for each in row.checks],
    }


def _check(each: LossVerdict) -> dict[str, Any]:
    evidence, estimate = each.evidence, each.evidence.estimate
    return {
        "kind": evidence.kind,
        "score": evidence.name,
        "value": _finite(estimate.value),
        "low": _finite(estimate.low),
        "high": _finite(estimate.high),
        "bound": each.bound,
        "verdict": each.verdict,
        "why": each.why,
        "count": estimate.count,
        "unit": evidence.unit,
        "needed": each.needed,
        "mde": _finite(estimate.mde),
        "p_regression": each.p_regression,
        "p_accept": each.p_accept,
        "p_better": each.p_better,
        "p_worse_than_rtn": each.p_worse_than_rtn,
        "p_mcnemar": estimate.p_mcnemar if isinstance(estimate, PairedItems) else None,
        "worse_than": each.worse_than,
        "basis": evidence.basis,
        "note": each.note,
        "tasks": [_task(name, items) for name, items in evidence.tasks.items()],
    }


def _task(name: str, items: PairedItems) -> dict[str, Any]:
    return {
        "score": name,
        "items": items.items,
        "lost": items.lost,
        "gained": items.gained,
        "value": items.value,
        "low": items.low,
        "high": items.high,
        "p_mcnemar": items.p_mcnemar,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
