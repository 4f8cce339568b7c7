"""Whether what the models of a run lost is within bounds: `qpipe check`, and `qpipe.check`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from qpipe.core.layout import DEFAULT_RUNS
from qpipe.errors import UsageError, nearest

if TYPE_CHECKING:
    from qpipe.gate.bounds import Bounds
    from qpipe.gate.evidence import Evidence, Lack
    from qpipe.gate.verdicts import GateVerdict, LossVerdict, RowVerdict
    from qpipe.results.comparison import Comparison, ModelRow


def check(
    run: str | Path | Comparison = "latest",
    *,
    max_drop: str | None = None,
    max_kld: str | float | None = None,
    max_ppl: str | None = None,
    equivalent: bool = False,
    only: Sequence[str] = (),
    score: str | None = None,
    runs: str | Path | None = None,
) -> GateVerdict:
    """Return whether what the models of a run lost is within bounds, and whether the data tell.

    ``run`` is a comparison, a run's name below ``runs``, its folder, or a report in JSON. Bounds
    are written as on the command line: ``max_drop="1pp"`` of accuracy, ``max_kld=0.02`` nats,
    ``max_ppl="1%"``; with ``equivalent`` a model may not be better by more either. ``only`` names
    the rows to look at, ``score`` the one to take of tasks.
    Raises UsageError for a bound that means nothing, no bound, an unknown row, and a bound on what
    was not measured.
    """
    from qpipe.gate.bounds import parsed

    drop, kld, ppl = (None if n is None else str(n) for n in (max_drop, max_kld, max_ppl))
    bounds = parsed(drop=drop, kld=kld, ppl=ppl, equivalent=equivalent)
    opened = _opened(run, Path(runs or os.environ.get("QPIPE_RUNS") or DEFAULT_RUNS))
    rows = [only] if isinstance(only, str) else only
    return _decided(opened, bounds, only=rows, score=score)


class OpenedRun(NamedTuple):
    """The rows of a run, the settings of the nodes that made them by key, and its command."""

    rows: Sequence[ModelRow]
    params: Mapping[str, Mapping[str, Any]]
    command: Sequence[str] = ()


def _opened(run: str | Path | Comparison, runs: Path) -> OpenedRun:
    from qpipe.results.comparison import Comparison

    if isinstance(run, Comparison):
        return OpenedRun(run.rows, {})
    from qpipe.report import runs as reports

    path = Path(run)
    if path.is_file():
        summary = reports.read_report(path)
    else:
        summary = reports.read_summary(reports.find_run(str(run), runs))
    params = {node["key"]: node["params"] or {} for node in summary.nodes if node["key"]}
    return OpenedRun(Comparison.of(summary.rows).rows, params, summary.about.get("command") or ())


def _decided(
    run: OpenedRun, bounds: Bounds, *, only: Sequence[str], score: str | None
) -> GateVerdict:
    from qpipe.gate import verdicts
    from qpipe.gate.evidence import Gatherer, Lack
    from qpipe.gate.rounding import beside_rounding

    pairs = _chosen(run.rows, only)
    gatherer = Gatherer(run.rows, score=score)
    losses: list[Evidence] = []
    lacks: list[Lack] = []
    for pair in pairs:
        for kind in bounds.given:
            evidence = gatherer.of(*pair, kind)
            if isinstance(evidence, Lack):
                lacks.append(evidence)
            else:
                losses += evidence
    if lacks:
        raise UsageError(_lacking(lacks, run.command))
    rivals = [beside_rounding(each, run.rows, run.params, score) for each in losses]
    decided = verdicts.decide([*zip(losses, rivals, strict=True)], bounds)
    references = dict.fromkeys(reference.name for _, reference in pairs)
    return verdicts.GateVerdict(
        bounds, ", ".join(references), tuple(_of_row(row, decided) for row, _ in pairs)
    )


def _of_row(row: ModelRow, decided: Sequence[LossVerdict]) -> RowVerdict:
    from qpipe.gate.verdicts import RowVerdict, worst

    own = tuple(each for each in decided if each.evidence.row is row)
    return RowVerdict(row.name, row.model, worst([each.verdict for each in own]), own)


def _chosen(rows: Sequence[ModelRow], only: Sequence[str]) -> list[tuple[ModelRow, ModelRow]]:
    """The rows to look at, each with its reference. Raises UsageError where there is none."""
    models = [row for row in rows if not row.reference]
    references = {row.name for row in rows if row.reference}
    if not models:
        raise UsageError(
            f"there is no model beside the reference {', '.join(sorted(references))} (one with the "
            "same bytes is the same row): nothing could be lost, and nothing is checked"
        )
    names = {name for row in models for name in (row.name, row.format) if name}
    for name in only:
        if name in references - names:
            raise UsageError(f"--only {name}: that is the reference, which others are checked by")
        if name not in names:
            raise UsageError(f"--only {name}: there is no such row; {nearest(name, names)}")
    chosen = [row for row in models if not only or {row.name, row.format} & {*only}]
    return [(row, _reference(row, rows)) for row in chosen]


def _reference(row: ModelRow, rows: Sequence[ModelRow]) -> ModelRow:
    references = [each for each in rows if each.reference]
    own = [each for each in references if each.model == row.model] or references[:1]
    if not references or (len(references) > 1 and own[0].model != row.model):
        raise UsageError(
            f"{row.name}: the run has no reference that it could be compared with; name the stage "
            "of one with run.reference in the recipe (`qpipe settings run`)"
        )
    return own[0]


_OPTIONS = {"drop": "--max-drop", "kld": "--max-kld", "ppl": "--max-ppl"}
_METRICS = {
    "drop": ["evaluate=tasks", "evaluate.tasks=TASK"],
    "kld": ["evaluate=kld"],
    "ppl": ["evaluate=perplexity"],
}
_SCORES = {"drop": "acc[TASK]", "kld": "kld", "ppl": "ppl_delta"}
_SHOWN = 4


def _lacking(lacks: Sequence[Lack], command: Sequence[str]) -> str:
    """A message on bounds on what was not measured, with commands that would measure it."""
    from qpipe.gate.evidence import BITS

    lines = []
    for kind, option in _OPTIONS.items():
        of_kind = [each for each in lacks if each.kind == kind]
        for why in dict.fromkeys(each.why for each in of_kind):
            names = [each.row.name for each in of_kind if each.why == why]
            more = f" and {len(names) - _SHOWN} others" if len(names) > _SHOWN else ""
            lines.append(f"{option}: {', '.join(names[:_SHOWN])}{more}: {why}")
        if of_kind:
            in_bits = any(each.why == BITS for each in of_kind)
            lines.append(f"  to measure it: {_measuring(kind, command, in_bits=in_bits)}")
    return "\n".join([*lines, "or name other rows with --only, or leave that bound out"])


def _measuring(kind: str, command: Sequence[str], *, in_bits: bool) -> str:
    """The command of a run with another measurement in place of its own."""
    import shlex

    if [*command[:2]] == ["qpipe", "repro"]:
        overrides = ", ".join(_METRICS[kind])
        return f"in the table, a metric of {_SCORES[kind]} with `overrides: [{overrides}]`"
    words = [*command] or ["qpipe", "run", "RECIPE"]
    kept = [word for word in words if not word.startswith(("evaluate=", "evaluate.metric="))]
    if kind == "drop":
        kept = [word for word in kept if not word.startswith("evaluate.")]
    if in_bits:  # since the protocol said so
        kept = [word for word in kept if not word.startswith("evaluate.protocol=")]
    at = next((n for n, word in enumerate(kept) if n > 2 and word.startswith("-")), len(kept))
    return shlex.join([*kept[:at], *_METRICS[kind], *kept[at:]])
