"""`qpipe repro`: what of published tables can be run here, is run, and comes out as it was.

Sizes need no run: where values of no other kind are asked for, neither Hydra nor a stage is
imported.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qpipe import __version__
from qpipe.core.events import Emit
from qpipe.errors import EngineMissingError, QpipeError, SourceError
from qpipe.machine import gpus
from qpipe.machine.identity import describe
from qpipe.published import comparable, figures
from qpipe.published.figures import NotThereError
from qpipe.published.reproduction import ReproducedValue, Reproduction
from qpipe.published.schema import PublishedValue
from qpipe.published.selection import TableValue, selected
from qpipe.published.verdict import Verdict, judge
from qpipe.recipe.request import Request
from qpipe.session.context import Context, Notify, ignore
from qpipe.session.reproducing.question import Question
from qpipe.session.reproducing.table_job import TableJob, job_of

if TYPE_CHECKING:
    from typing import TypeAlias

    from qpipe.session.reproducing.ends import JobEnds
    from qpipe.session.reproducing.measured import JobEnd

    End: TypeAlias = JobEnd | QpipeError | str | None

NOT_REPRODUCED = 4
"""The exit code where a published value is not reproduced."""

_NO_RECIPE = (
    "no recipe reproduces it: the table names none in `recipe` (local takes any checkpoint)"
)
_NO_RUN = "its size is predicted from config.json: nothing has to run"


def context(question: Question, store: Path, runs: Path, notify: Notify = ignore) -> Context:
    """Return where and how a question is answered."""
    return Context(Request(question.name), store, runs, keep_going=True, notify=notify)


def reproduce(
    question: Question, context: Context, *, listeners: Sequence[Emit] = ()
) -> Reproduction:
    """Give each chosen value a verdict, running what has to be.

    Raises UsageError and RecipeError for what is asked wrongly and for a recipe that is wrong,
    before anything runs, and InterruptedRunError.
    """
    chosen, left_out = selected(question.files, question.rows, question.only)
    machine = describe()
    here = [machine["processor"], *gpus.names(), " ".join(map(str, machine.values()))]
    verdicts = {n: v for n, each in enumerate(chosen) if (v := _beforehand(each.value, here))}
    wanted = {
        number: (each, job)
        for number, each in enumerate(chosen)
        if number not in verdicts and each.value.kind != "sizes" and (job := job_of(each))
    }
    done = _done(question, context, wanted, listeners)
    if done is not None:
        verdicts |= {n: Verdict("not_comparable", why) for n, why in done.others.items()}
    ends = done.ends if done else {}
    made = {_row(each): ends[job] for each, job in wanted.values() if job in ends}
    rows = []
    for number, each in enumerate(chosen):
        job = wanted[number][1] if number in wanted else None
        verdict = verdicts.get(number)
        if verdict is None and each.value.kind == "sizes":
            verdict = _of_size(each, made.get(_row(each)), plan=question.plan)
        elif verdict is None:
            calibrated = done is not None and job in done.calibrated
            verdict = _of_score(each, ends[job] if job else None, calibrated=calibrated)
        overrides = job.overrides if job else ()
        rows.append(ReproducedValue(each, verdict, each.value.recipe if job else None, overrides))
    document = done.document if done else None
    return Reproduction(
        rows,
        question.files,
        question.plan,
        left_out,
        run=document["run"] if document else None,
        about={**_about(question, machine, document), "sources": done.sources if done else {}},
        locks=done.locks if done else {},
        exit_code=0 if question.plan else _exit_code(rows, done.errors if done else ()),
    )


def _about(
    question: Question, machine: Mapping[str, Any], document: Mapping[str, Any] | None
) -> dict[str, Any]:
    return {
        "command": " ".join(question.command),
        "date": time.strftime("%Y-%m-%d"),
        "qpipe": __version__,
        "machine": machine,
        "tools": document["tools"] if document else {},
    }


def _beforehand(value: PublishedValue, machine: Sequence[str]) -> Verdict | None:
    """The verdict of a value that needs no run to be told."""
    why = comparable.beforehand(value, machine)
    if why is not None:
        return Verdict("not_comparable", why)
    if value.recipe is None and value.kind != "sizes":
        return Verdict("cannot_run", _NO_RECIPE)
    return None


def _done(
    question: Question,
    context: Context,
    wanted: Mapping[int, tuple[TableValue, TableJob]],
    listeners: Sequence[Emit],
) -> JobEnds | None:
    if not wanted:
        return None
    from qpipe.session.reproducing.ends import job_ends

    return job_ends(question, context, wanted, listeners)


def _of_score(each: TableValue, end: End, *, calibrated: bool = False) -> Verdict:
    """The verdict of a value that is measured."""
    if end is None or isinstance(end, QpipeError):
        return Verdict("cannot_run", str(end or "nothing was made of it"))
    if isinstance(end, str):
        return Verdict("would_run", end)
    if end.row is None:
        return Verdict("cannot_run", end.why)
    try:
        ours = figures.of_row(each.value, end.row)
    except NotThereError as error:
        return Verdict("cannot_run", end.why or str(error))
    return judge(each.value, ours, calibrated=calibrated)


def _of_size(each: TableValue, end: End, *, plan: bool) -> Verdict:
    """The verdict of a size: that of what was made, else the one that is predicted."""
    if end is not None and not isinstance(end, QpipeError | str) and end.row is not None:
        return _of_score(each, end)
    from qpipe.session.reproducing.sizes import predicted

    try:
        ours = predicted(each)
    except NotThereError as error:
        return (
            Verdict("would_run", end) if isinstance(end, str) else Verdict("cannot_run", str(error))
        )
    return Verdict("would_run", _NO_RUN, ours) if plan else judge(each.value, ours)


def _row(each: TableValue) -> tuple[Path, int]:
    """Return what tells a row from all others."""
    return each.file.path, each.value.number


def _exit_code(rows: Sequence[ReproducedValue], errors: Sequence[QpipeError]) -> int:
    """4 if a value is off; else 1 if a stage failed that could have run; else, where not one value
    could be judged for what is missing here, that error's, or 1; else 0."""
    words = [row.word for row in rows]
    if "off" in words:
        return NOT_REPRODUCED
    if any(not isinstance(error, (SourceError, EngineMissingError)) for error in errors):
        return 1
    if errors and "reproduced" not in words:
        return errors[0].exit_code
    return int({*words} == {"cannot_run"})
