"""A recipe from Python: load it, look at its plan, run it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from qpipe.core.events import Emit, Event, Warned
from qpipe.core.layout import DEFAULT_RUNS, DEFAULT_STORE
from qpipe.errors import RecipeError, UsageError
from qpipe.recipe.request import Request, find_recipe
from qpipe.session.context import Context, Notify, ignore

if TYPE_CHECKING:
    from qpipe.results.comparison import Comparison
    from qpipe.session.forecasts import RunPlan


def load(
    recipe: str | Path,
    *overrides: str,
    sweep: bool = False,
    store: str | Path | None = None,
    runs: str | Path | None = None,
) -> Session:
    """Return a recipe (a name that ships with qpipe, or the path of a YAML file) with overrides as
    the command line takes them, such as ``"quantize.type=Q4_K_M"``.

    With ``sweep``, values with commas are alternatives, as after ``-m``. ``store`` and ``runs`` are
    folders, by default those of QPIPE_STORE and QPIPE_RUNS, else ``outputs/store`` and
    ``outputs/runs``. Raises RecipeError where there is no such recipe, and for an override that is
    no string; `Session.plan` and
    `Session.run` raise it for what the recipe says.
    """
    for override in overrides:
        if not isinstance(override, str):
            raise RecipeError(
                f"qpipe.load({str(recipe)!r}, …): an override is a string 'KEY=VALUE', "
                f"such as 'quantize.type=Q4_K_M', not {override!r}"
            )
    find_recipe(str(recipe))
    return Session(
        str(recipe),
        overrides,
        sweep,
        Path(store or os.environ.get("QPIPE_STORE") or DEFAULT_STORE),
        _runs(runs),
    )


@dataclass(frozen=True)
class Session:
    """A recipe with its overrides, and the folders of its store and its runs."""

    recipe: str
    overrides: tuple[str, ...]
    sweep: bool
    store: Path
    runs: Path

    def plan(self, *, keep_going: bool = False, again: Sequence[str] = ()) -> RunPlan:
        """Return what a run would do: hits, misses and why, sizes, and what would fail.

        Nothing runs. ``keep_going`` leaves out jobs of a sweep whose settings do not go together;
        ``again`` are stages that would be made again. Raises RecipeError, UsageError for a stage
        that is not there, and SourceError for a model or text that is not there.
        """
        from qpipe.session.forecasts import run_plan

        notes: list[str] = []
        plan = run_plan(self._context(keep_going, again, notify=notes.append))
        return replace(plan, notes=tuple(notes))

    def run(
        self,
        on_event: Emit | None = None,
        *,
        keep_going: bool = False,
        pin: bool = False,
        again: Sequence[str] = (),
    ) -> Comparison:
        """Run it and return the comparison of what came out; what is cached is not made again,
        but for the stages named in ``again``.

        ``on_event`` takes the events of `qpipe.core.events` as they happen, in this thread. ``pin``
        keeps the artifacts from `Store.collect`. The run's folder has the reports besides.

        Raises the first failure's error, after everything was written; with ``keep_going``, or
        where the recipe says so, nothing is raised for it, and the rows' `status` and `error` tell.
        A sweep makes whatever does not need what failed, unless ``run.keep_going`` is false; a
        single run only if asked to. Raises RecipeError, SourceError and, for a stage in ``again``
        that is not there, UsageError before anything runs, and InterruptedRunError after Ctrl-C.
        """
        from qpipe.session.run import execute

        emit = on_event or _ignore
        context = self._context(keep_going, again, notify=lambda note: emit(Warned(note)))
        finished = execute(context, listeners=[emit], pin=pin)
        for problem in finished.problems:
            warnings.warn(problem, stacklevel=2)
        if finished.errors and not finished.keep_going:
            raise finished.errors[0]
        return finished.comparison

    def _context(self, keep_going: bool, again: Sequence[str], notify: Notify = ignore) -> Context:
        if isinstance(again, str):
            raise UsageError(f"again={again!r}: a list of stages, such as ['perplexity']")
        return Context(
            Request(self.recipe, self.overrides, multirun=self.sweep),
            store=self.store,
            runs=self.runs,
            keep_going=keep_going,
            again=tuple(again),
            notify=notify,
        )


def open_run(run: str | Path = "latest", *, runs: str | Path | None = None) -> Comparison:
    """Return the comparison of a finished run: a name below ``runs``, a run's folder, or latest.

    Raises UsageError for a run that is not there, not finished, or not one that qpipe wrote.
    """
    from qpipe.report.runs import find_run, read_summary
    from qpipe.results.comparison import Comparison

    return Comparison.of(read_summary(find_run(str(run), _runs(runs))).rows)


def _runs(runs: str | Path | None) -> Path:
    return Path(runs or os.environ.get("QPIPE_RUNS") or DEFAULT_RUNS)


def _ignore(event: Event) -> None:
    """Take an event and do nothing with it."""
