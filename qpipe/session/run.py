"""`qpipe run`: every job of the request as one graph, and the comparison of what came out."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qpipe.session.requirements import lacks
from qpipe.commands.options import Options
from qpipe.session.plans import Objective, each_plan
from qpipe.core import gc, lock, runner
from qpipe.core.events import Emit, fan_out
from qpipe.core.graph import Graph, merge
from qpipe.core.layout import RunPaths
from qpipe.core.plan import Plan, PlannedJob
from qpipe.core.runner import Outcome, Refuses, RunResult
from qpipe.core.store import Store
from qpipe.errors import QpipeError, UsageError
from qpipe.executors.make import make
from qpipe.recipe.draft import InvalidJobDraft, RunDraft
from qpipe.recipe.request import Request


def run(request: Request, options: Options) -> int:
    """Run a recipe. The comparison goes to stdout, or with ``json`` the whole summary."""
    if request.flags:
        from qpipe.recipe import load

        load.drive(request, lambda jobs: [None for _ in jobs])
        return 0
    session = _Session(request, options)
    try:
        each_plan(request, options, session.batch, folder=session.folder)
    finally:
        session.close()
    return session.report()


_NAME_BYTES = 150


@dataclass
class _Session:
    """One command's run: a folder, and all batches that a sweeper asks for."""

    request: Request
    options: Options
    store: Store = field(init=False)
    folder: Path = field(init=False)
    paths: RunPaths | None = None
    plans: list[Plan] = field(default_factory=list)
    invalid: list[InvalidJobDraft] = field(default_factory=list)
    """Jobs that were left out."""
    failed: bool = False
    """Whether leaving them out is a failure: nobody said beforehand that it may be done."""
    refused: dict[str, QpipeError] = field(default_factory=dict)
    """What was not even tried, by node id."""
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    listeners: list[Emit] = field(default_factory=list)
    closers: list[object] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = Store(self.options.store.absolute())
        stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
        self.folder = self.options.runs.absolute() / f"{stamp}_{short_name(self.request.recipe)}"

    def batch(self, draft: RunDraft, plan: Plan) -> Sequence[Objective]:
        """Run one batch of jobs; the objective of each."""
        if self.paths is None:
            self.paths = self._open()
        result = runner.run(
            plan.graph,
            store=self.store,
            executor=make(paths=self.paths, **draft["executor"]),
            emit=fan_out(self.listeners),
            keep_going=self.options.keep_going or draft["keep_going"],
            lacks=lacks,
            refuses=self._refuses(plan.graph),
        )
        self.plans.append(plan)
        self.invalid += draft["invalid"]
        self.failed = self.failed or bool(draft["invalid"] and not draft["skip_invalid"])
        self.outcomes.update(result.outcomes)
        return [_objective(job, result, draft["objective"]) for job in plan.jobs]

    def _refuses(self, graph: Graph) -> Refuses:
        """Asks the stages at the first node that is to be made: a run whose nodes are all cached
        imports none of them."""

        @functools.cache
        def errors() -> Mapping[str, QpipeError]:
            from qpipe.session.refusals import refused

            found = refused(graph, self.store)
            self.refused |= found
            return found

        return lambda node: errors().get(node.id)

    def _open(self) -> RunPaths:
        from qpipe.report.live import Live
        from qpipe.report.record import Recorder

        try:
            paths = RunPaths(new_folder(self.folder))
            recorder = Recorder(paths.events)
        except OSError as error:
            raise UsageError(
                f"no folder for this run can be made in {self.folder.parent} ({error.strerror}); "
                "name another with --runs or QPIPE_RUNS"
            ) from None
        live = Live(quiet=self.options.quiet)
        self.closers += [live, recorder]
        self.listeners += [live, recorder]
        return paths

    def close(self) -> None:
        """Leave the terminal as it was, and let gc have the artifacts."""
        for closer in self.closers:
            closer.close()  # type: ignore[attr-defined]
        self.store.close()

    def report(self) -> int:
        """Write the run's summary and reports, print the answer; the exit code."""
        from qpipe.report import render, rows, summary

        assert self.paths is not None
        plan = Plan(merge(p.graph for p in self.plans), [job for p in self.plans for job in p.jobs])
        result = RunResult({node: self.outcomes[node] for node in plan.graph})
        document = summary.document(
            self.paths.root.name, plan, result, rows.rows(plan, result), invalid=self.invalid
        )
        trouble = self._write(document)
        if self.options.pin:
            keys = [o.artifact.key for o in result.outcomes.values() if o.artifact]
            gc.pin(self.store, self.paths.root.name, keys)
        if self.options.json:
            json.dump(document, sys.stdout, indent=1, allow_nan=False)
            print()
        else:
            render.to_terminal(document["rows"], sys.stdout)
            for job in self.invalid:
                print(f"left out: {job['name']}: {job['error']}")
            if trouble is None:
                print(f"report: {self.paths.report('md')} (also .json, .csv)", file=sys.stderr)
        if trouble is not None:
            print(f"qpipe: {trouble}", file=sys.stderr)
        return _exit_code(result, self.refused) or int(self.failed or trouble is not None)

    def _write(self, document: Mapping[str, Any]) -> str | None:
        """Write the summary and the reports; what went wrong, which takes nothing from the answer
        on stdout."""
        from qpipe.report import render

        assert self.paths is not None
        try:
            lock.write_atomic(
                self.paths.summary, json.dumps(document, indent=1, allow_nan=False).encode()
            )
            for suffix in ("md", "json", "csv"):
                text = render.render(document["rows"], suffix, title=self.paths.root.name)
                path = self.paths.report(suffix)
                path.write_text(text, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            return (
                f"{error.filename or self.paths.root}: the run's summary and reports could not be "
                f"written ({error.strerror}); what was made is in the store, and the same command "
                "writes them again"
            )
        return None


def _exit_code(result: RunResult, refused: Mapping[str, QpipeError]) -> int:
    """What the failures have in common, else 1; 0 if there are none.

    A stage that finds its settings wrong while it works has failed: 2 is for what never ran.
    """
    errors = [o.error for o in result.outcomes.values() if o.error is not None]
    tried = any(o.status == "ran" for o in result.outcomes.values())
    tried |= any(error not in refused.values() for error in errors)
    codes = {1 if tried and isinstance(error, UsageError) else error.exit_code for error in errors}
    return codes.pop() if len(codes) == 1 else min(len(codes), 1)


def short_name(recipe: str) -> str:
    """A recipe's name as a part of a folder's, which may have 255 bytes in all."""
    return Path(recipe).stem.encode(errors="replace")[:_NAME_BYTES].decode(errors="ignore")


def new_folder(wanted: Path) -> Path:
    """Make a folder of this name; of two runs in one second the second gets a number."""
    for number in itertools.count(1):
        folder = wanted if number == 1 else wanted.with_name(f"{wanted.name}_{number}")
        with contextlib.suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder
    raise AssertionError("count() ends never")


def _objective(job: PlannedJob, result: RunResult, names: Sequence[str]) -> Objective:
    """The facts called ``names`` of what this job made and measured; None if any is missing."""
    facts: dict[str, object] = {}
    outcomes = [result.outcomes[node] for node in job.nodes.values()]
    for outcome in outcomes:
        reference = job.reference in (outcome.node.id, outcome.node.inputs.get("model"))
        if outcome.artifact is not None:
            own = outcome.artifact.manifest.facts
            # What the reference says stands only where the job has nothing of its own.
            facts = {**own, **facts} if reference else {**facts, **own}
    values = [facts.get(name) for name in names]
    numbers = [float(value) for value in values if isinstance(value, (int, float))]
    if len(numbers) != len(names):
        return None
    return numbers[0] if len(numbers) == 1 else numbers
