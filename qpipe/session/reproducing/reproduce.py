"""`qpipe repro`: what of published tables can be run here, is run, and comes out as it was."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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
from qpipe.session.reproducing.jobs import TableJob, drafts, job_of, merged
from qpipe.session.reproducing.measured import JobEnd, MeasuredJobs, run
from qpipe.session.reproducing.planned import outlooks
from qpipe.session.reproducing.question import Question

NOT_REPRODUCED = 4
"""The exit code where a published value is not reproduced."""

_NO_RECIPE = (
    "no recipe reproduces it: the table names none in `recipe` (local takes any checkpoint)"
)


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
    here = [machine["processor"], *gpus.names()]
    verdicts = {n: v for n, each in enumerate(chosen) if (v := _beforehand(each.value, here))}
    wanted = {
        number: job
        for number, each in enumerate(chosen)
        if number not in verdicts and each.value.kind != "sizes" and (job := job_of(each))
    }
    ends, done = _ends(
        question, context, [(chosen[n], job) for n, job in wanted.items()], listeners
    )
    of_row = {_row(chosen[n]): job for n, job in wanted.items()}
    rows = []
    for number, each in enumerate(chosen):
        job = wanted.get(number)
        own = job or of_row.get(_row(each))
        verdict = verdicts.get(number) or _verdict(each, ends[own] if own else None)
        recipe, overrides = (job.recipe, job.overrides) if job else (None, ())
        rows.append(ReproducedValue(each, verdict, recipe, overrides))
    return Reproduction(
        rows,
        question.files,
        question.plan,
        left_out,
        run=done.run.document["run"] if done.run else None,
        about={
            "command": " ".join(question.command),
            "date": time.strftime("%Y-%m-%d"),
            "qpipe": __version__,
            "machine": machine,
            "tools": _tools(done),
        },
        exit_code=0 if question.plan else _exit_code(rows, done.errors),
    )


def _beforehand(value: PublishedValue, machine: Sequence[str]) -> Verdict | None:
    """The verdict of a value that needs no run to be told."""
    why = comparable.beforehand(value, machine)
    if why is not None:
        return Verdict("not_comparable", why)
    if value.recipe is None and value.kind != "sizes":
        return Verdict("cannot_run", _NO_RECIPE)
    return None


def _ends(
    question: Question,
    context: Context,
    wanted: Sequence[tuple[TableValue, TableJob]],
    listeners: Sequence[Emit],
) -> tuple[Mapping[TableJob, JobEnd | QpipeError | str], MeasuredJobs]:
    """Return what each job came to, or would."""
    if not wanted:
        return {}, MeasuredJobs({})
    drafted = drafts(wanted, context.store, context.notify)
    planned = merged(drafted, context.store, context.notify, ask=not question.plan)
    if question.plan:
        return {**outlooks(planned, context)}, MeasuredJobs({})
    done = run(planned, context, question.command, listeners=listeners)
    return {**done.ends}, done


def _verdict(each: TableValue, end: JobEnd | QpipeError | str | None) -> Verdict:
    if end is None:
        return Verdict("cannot_run", "nothing was made of it")
    if isinstance(end, QpipeError):
        return Verdict("cannot_run", str(end))
    if isinstance(end, str):
        return Verdict("would_run", end)
    if end.row is None:
        return Verdict("cannot_run", end.why)
    try:
        ours = figures.of_row(each.value, end.row)
    except NotThereError as error:
        return Verdict("cannot_run", end.why or str(error))
    return judge(each.value, ours)


def _row(each: TableValue) -> tuple[Path, int]:
    """Return what tells a row from all others."""
    return each.file.path, each.value.number


def _tools(done: MeasuredJobs) -> Mapping[str, Any]:
    return done.run.document["tools"] if done.run else {}


def _exit_code(rows: Sequence[ReproducedValue], errors: Sequence[QpipeError]) -> int:
    """4 if a value is off; else 1 if a stage failed that could have run; else, where not one value
    could be judged for what is missing here, that error's; else 0."""
    words = [row.word for row in rows]
    if "off" in words:
        return NOT_REPRODUCED
    if any(not isinstance(error, (SourceError, EngineMissingError)) for error in errors):
        return 1
    return errors[0].exit_code if errors and "reproduced" not in words else 0
