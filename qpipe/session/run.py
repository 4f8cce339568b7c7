"""Carry out a request: all its jobs as one graph, and the comparison of what came out.

A run whose nodes are all cached imports no stage, and neither pydantic nor Hydra.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qpipe.core import runner
from qpipe.core.events import (
    Emit,
    Estimated,
    Event,
    NodeFinished,
    NodeStarted,
    Warned,
    fan_out,
)
from qpipe.core.forecast import forecast
from qpipe.core.graph import Graph, Node, Plan, merge
from qpipe.core.layout import RunPaths
from qpipe.core.manifest import Manifest
from qpipe.core.outcome import Outcome, RunResult
from qpipe.core.run_settings import Refuses, RunSettings, Shortage
from qpipe.core.store import ArtifactStore
from qpipe.errors import InterruptedRunError, QpipeError, StageError, StoreError, UsageError
from qpipe.executors.factory import DeferredExecutor, make
from qpipe.recipe.draft import GuideDraft, InvalidJobDraft, RunDraft
from qpipe.results.figures import NodeFigures
from qpipe.results.losses import LOSSES
from qpipe.results.tensors import DETAILS
from qpipe.session.context import Context
from qpipe.session.plans import Objective, each_plan
from qpipe.session.refusals import lacks
from qpipe.session.run_ends import exit_code, objective
from qpipe.session.run_folder import Pace, RunFolder, Tensors, about, short_name

if TYPE_CHECKING:
    from qpipe.results.comparison import Comparison
    from qpipe.session.guided.search import GuidedSweep


# Stages whose artifacts a run is for, whatever else takes them.
_RESULTS = ("evaluate",)


@dataclass(frozen=True)
class FinishedRun:
    """The results of a run that has ended.

    ``document`` is what run.json holds, ``comparison`` its rows. ``problems`` are files of the run
    that could not be written, in words; where ``written`` is False these are the summary and the
    reports. ``errors`` are those of the nodes that failed, in graph order; ``keep_going`` says
    whether it was asked for that the run goes on after one.
    """

    paths: RunPaths
    document: Mapping[str, Any]
    comparison: Comparison
    errors: Sequence[QpipeError]
    problems: Sequence[str]
    written: bool
    keep_going: bool
    exit_code: int
    plan: Plan
    result: RunResult

    @property
    def links(self) -> list[str]:
        """The paths of the models in the run's folder."""
        return [row.link for row in self.comparison.rows if row.link]

    @property
    def towers(self) -> list[str]:
        """The paths of files of towers for images and sound there."""
        from qpipe.session.run_models import towers

        return [str(path) for path in towers(self.paths.root)]


Batch = Callable[[RunDraft, Plan], Sequence[Objective]]
"""Runs a batch of jobs and returns the objective of each."""


def execute(
    context: Context,
    *,
    listeners: Sequence[Emit] = (),
    pin: bool = False,
    feed: Callable[[Batch], None] | None = None,
    told: Mapping[str, Any] | None = None,
) -> FinishedRun:
    """Run every job of a request; ``listeners`` take the events, ``pin`` keeps the artifacts from
    gc.

    ``feed`` gives the batches in the place of the request's own, and ``told`` what the record says
    was asked for. What fails is in the answer. Raises UsageError if the run's folder cannot be
    made, RecipeError and SourceError before anything runs, and InterruptedRunError.
    """
    run = _Execution(context, [*listeners], told)
    try:
        if feed is None:
            each_plan(context, run.batch, folder=run.base, learn=True)
        else:
            feed(run.batch)
    except BaseException as error:
        for problem in [*run.close(), *run.broken_off(error)]:
            context.notify(problem)
        if run.started and isinstance(error, UsageError):  # of a later batch
            raise StageError(str(error)) from error
        raise
    return run.finished(run.close(), pin=pin)


@dataclass
class _Execution:
    """A run in progress: its folder, and all batches that a sweeper asks for."""

    context: Context
    listeners: list[Emit]
    told: Mapping[str, Any] | None = None
    store: ArtifactStore = field(init=False)
    base: Path = field(init=False)
    """The folder, but for a number behind its name if there is one of that name."""
    folder: RunFolder | None = None
    about: dict[str, Any] = field(default_factory=dict)
    pace: Pace = field(default_factory=lambda: Pace(seconds=2.0, share=0.02))
    keep_going: bool = False
    """Whether it was asked for."""
    started: bool = False
    """Whether any node was."""
    new_sources: bool = True
    """Whether more can be said of how long the rest will take than was."""
    plans: list[Plan] = field(default_factory=list)
    invalid: list[InvalidJobDraft] = field(default_factory=list)
    """Jobs that were left out."""
    failed: bool = False
    """Whether leaving them out is a failure: nobody said beforehand that it may be done."""
    unlinked: list[str] = field(default_factory=list)
    """Models without a link in the run's folder, in words."""
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    expected: dict[str, NodeFigures] = field(default_factory=dict)
    """What was foreseen of nodes that were to be made, before any was."""
    guided: GuidedSweep | None = None

    def __post_init__(self) -> None:
        self.store = ArtifactStore(self.context.store.absolute())
        stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
        name = short_name(self.context.request.recipe)
        self.base = self.context.runs.absolute() / f"{stamp}_{name}"

    def batch(self, draft: RunDraft, plan: Plan) -> Sequence[Objective]:
        """Run one batch of jobs; return the objective of each."""
        self.keep_going = self.context.keep_going or bool(draft["keep_going"])
        sweep = self.context.request.multirun or len(draft["jobs"]) + len(draft["invalid"]) > 1
        keep_going = self.keep_going or (draft["keep_going"] is None and sweep)
        again = self._again(plan)
        if self.folder is None:
            self.folder = RunFolder(self.base)
            self.about = about(self.context, keep_going=keep_going, told=self.told)
            self.listeners += [self.folder.recorder, self._note]
        self.plans.append(plan)
        self._write()
        go_on = functools.partial(self._run, draft=draft, again=again, keep_going=keep_going)
        if (guide := draft["guide"]) is not None:
            self._guided(plan, guide, go_on, keep_going=keep_going)
            objectives: list[Objective] = [None for _ in plan.jobs]
        else:
            result = go_on(plan)
            objectives = [objective(job, result, draft["objective"]) for job in plan.jobs]
        self.invalid += draft["invalid"]
        self.failed = self.failed or bool(draft["invalid"] and not draft["skip_invalid"])
        return objectives

    def _run(
        self, plan: Plan, *, draft: RunDraft, again: frozenset[str], keep_going: bool
    ) -> RunResult:
        """Run a plan, which is the latest from now on."""
        assert self.folder is not None
        self.plans[-1] = plan
        make_executor = functools.partial(
            make, paths=self.folder.paths, notify=self._warn, **draft["executor"]
        )
        return runner.run(
            plan.graph,
            store=self.store,
            executor=DeferredExecutor(make_executor),
            emit=fan_out(self.listeners),
            settings=RunSettings(
                keep_going=keep_going,
                leave_out=self.keep_going or draft["skip_invalid"],
                lacks=lacks,
                refuses=self._refuses(plan.graph, again, draft),
                jobs=[list(job.nodes.values()) for job in plan.jobs],
                again=again,
                compares=_changed_figures,
                shortage=self._shortage(plan.graph),
                results_only=draft["results_only"],
                results=_RESULTS,
            ),
            outcomes=self.outcomes,
        )

    def _guided(
        self, plan: Plan, guide: GuideDraft, go_on: Callable[[Plan], RunResult], *, keep_going: bool
    ) -> None:
        """Run what a guided sweep needs to see of a plan."""
        from qpipe.session.guided.rounds import Rounds
        from qpipe.session.guided.search import GuidedSweep
        from qpipe.session.guided.sizes import exact_sizes, in_store

        self.listeners = [Rounds(self.listeners)]
        self.guided = GuidedSweep(
            plan=plan,
            guide=guide,
            run=go_on,
            sizes=lambda wanted: exact_sizes(wanted, self.store),
            in_store=lambda wanted: in_store(wanted, self.store, again=self._again(wanted)),
            emit=fan_out(self.listeners),
            keep_going=keep_going,
            lacks=lacks,
            outcomes=self.outcomes,
        )
        self.guided.search()

    def _shortage(self, graph: Graph) -> Shortage:
        """Return a function that says how much room there is, and what nodes take."""

        def words(left: Sequence[Node]) -> str:
            from qpipe.session.space import shortage

            assert self.folder is not None
            return shortage(graph, self.store, self.folder.paths.root, left)

        return words

    def _again(self, plan: Plan) -> frozenset[str]:
        """The nodes to be made again, but for those that this run has made already.

        Raises UsageError for a stage that the first batch does not have.
        """
        if not self.context.again:
            return frozenset()
        from qpipe.session.again import named_nodes

        chosen = named_nodes(self.context.again, plan.jobs, plan.graph, strict=self.folder is None)
        return chosen - {node for node, end in self.outcomes.items() if end.status == "ran"}

    def _refuses(self, graph: Graph, again: frozenset[str], draft: RunDraft) -> Refuses:
        """Return a function that gives the error with which a node would fail, if any.

        It asks the stages at the first node that is to be made: a run whose nodes are all cached
        imports none of them. Raises OutOfSpaceError for a disk that has no room for the run, unless
        it was asked for that the run goes on after failures.
        """

        @functools.cache
        def errors() -> Mapping[str, QpipeError]:
            from qpipe.session import figures
            from qpipe.session.foreseen import foreseen

            results_only = draft["results_only"]
            forecasts = forecast(graph, self.store, again=again, results_only=results_only)
            must_fit = not (self.keep_going or results_only)
            answer = foreseen(forecasts, self.store.paths.root, must_fit=must_fit)
            self.expected |= figures.expected(graph, forecasts, answer.coming, self.store)
            return answer.errors

        return lambda node: errors().get(node.id)

    def _warn(self, text: str) -> None:
        """Tell the listeners of something that the run goes on without."""
        fan_out(self.listeners)(Warned(text))

    def _note(self, event: Event) -> None:
        """Take note of what is started; have run.json say, now and then, what is finished."""
        if isinstance(event, NodeStarted):
            self.started = True
            if self.new_sources:
                self._estimate()
        elif isinstance(event, NodeFinished) and not self.plans[-1].graph[event.node].inputs:
            self.new_sources = True
        if self.pace.due(event):
            self._write()

    def _estimate(self) -> None:
        """Tell how long what is left will take, as far as the sources that are there let it."""
        from qpipe.session.estimates import estimates

        self.new_sources = False
        graph = self.plans[-1].graph
        try:
            made = {n: o.artifact for n, o in self.outcomes.items() if o.artifact is not None}
            sizes = {node: artifact.manifest.size for node, artifact in made.items()}
            store = str(self.store.paths.root)
            known = estimates(graph, ended=self.outcomes, sizes=sizes, store=store)
        except StoreError:  # it says so where it is needed
            return
        seconds = {node: e.seconds for node, e in known.items() if e.seconds is not None}
        if seconds:
            fan_out(self.listeners)(Estimated(seconds))

    def _write(self) -> None:
        """Write run.json as the run stands."""
        assert self.folder is not None
        began = time.time()
        self.folder.note(self._document("running")[0], self._tensors())
        self.pace.done(began)

    @property
    def plan(self) -> Plan:
        """All batches as one plan."""
        return Plan(merge(p.graph for p in self.plans), [job for p in self.plans for job in p.jobs])

    def _document(self, status: str, *, link: bool = False) -> tuple[dict[str, Any], Comparison]:
        """The record of the run as far as it has come, and the comparison in it; ``link`` has the
        models linked in the run's folder."""
        from qpipe.report import rows, run_record
        from qpipe.session.run_models import without_lost_files

        assert self.folder is not None
        plan = self.plan
        outcomes = {
            node.id: self.outcomes.get(node.id) or Outcome(node, "waiting")
            for node in plan.graph.values()
        }
        comparison = without_lost_files(rows.comparison(plan, RunResult(outcomes)))
        sweep: Mapping[str, Any] | None = None
        if self.guided is not None and self.guided.done:
            from qpipe.session.guided import verdict

            sweep = verdict.record(self.guided)
            comparison = verdict.marked(comparison, self.guided, sweep)
        if link:
            from qpipe.session.run_models import linked

            comparison, self.unlinked = linked(
                comparison, outcomes, self.folder.paths.root, self.store.digests
            )
        document = run_record.document(
            self.folder.name,
            status,
            plan,
            outcomes,
            comparison,
            about=self.about,
            invalid=self.invalid,
            sweep=sweep,
            expected=self.expected,
        )
        return document, comparison

    def _tensors(self) -> Tensors:
        """The tensors of the models that are finished, where manifests tell of them."""
        manifests = [o.artifact.manifest for o in self.outcomes.values() if o.artifact]
        facts = {"models": DETAILS, "losses": LOSSES}
        return {
            section: {m.key: of for m in manifests if isinstance(of := m.facts.get(fact), dict)}
            for section, fact in facts.items()
        }

    def close(self) -> list[str]:
        """Let gc have the artifacts; return what is missing from the log of events, in words."""
        problem = self.folder.recorder.close() if self.folder else None
        self.store.close()
        return [] if problem is None else [problem]

    def broken_off(self, error: BaseException) -> list[str]:
        """Write the record and the reports of what is finished; return what went wrong in words."""
        if self.folder is None:
            return []
        ended = isinstance(error, (KeyboardInterrupt, InterruptedRunError))
        document = self._document("interrupted" if ended else "failed", link=True)
        problem = self.folder.finish(*document, self._tensors())
        return [*self.unlinked, *([] if problem is None else [problem])]

    def finished(self, problems: Sequence[str], *, pin: bool) -> FinishedRun:
        """Write the run's record and reports."""
        assert self.folder is not None
        result = RunResult({node: self.outcomes[node] for p in self.plans for node in p.graph})
        document, comparison = self._document(result.status, link=True)
        problem = self.folder.finish(document, comparison, self._tensors())
        if pin:
            from qpipe.core import gc

            keys = [o.artifact.key for o in result.outcomes.values() if o.artifact]
            gc.pin(self.store, self.folder.name, keys)
        return FinishedRun(
            paths=self.folder.paths,
            document=document,
            comparison=comparison,
            errors=[o.error for o in result.outcomes.values() if o.error is not None],
            problems=[*problems, *self.unlinked, *([problem] if problem else [])],
            written=problem is None,
            keep_going=self.keep_going,
            exit_code=exit_code(result, started=self.started)
            or int(self.failed or problem is not None)
            or int(self.guided is not None and self.guided.in_vain),
            plan=self.plan,
            result=result,
        )


def _changed_figures(before: Manifest, after: Manifest) -> str:
    from qpipe.session.again import changed_figures  # what nobody makes again needs no results

    return changed_figures(before, after)
