"""Run a graph: lookup → submit → commit → emit, each node at most once, inputs first.

The runner decides; the executor that is passed in works; the store remembers. A failed node
makes everything that cannot do without it ``skipped``. Without ``keep_going`` nothing new starts
after a failure; what runs already is finished and kept. Where a failure is foreseen nothing starts
at all, unless ``leave_out`` says that the rest may.
"""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from qpipe.core import descendants
from qpipe.core.again import Again
from qpipe.core.claim import Claim, barred
from qpipe.core.dropping import Dropping
from qpipe.core.events import (
    AFTER_FAILURE,
    DISK_FULL,
    FORESEEN,
    Emit,
    NodeProgress,
    NodeStarted,
    NodeWaiting,
    RunFinished,
    RunStarted,
    Warned,
)
from qpipe.core.executor import Executor, WorkItem, WorkOutput, WorkProgress
from qpipe.core.graph import Graph, Node
from qpipe.core.held_up import HeldUp
from qpipe.core.lookahead import Lookahead
from qpipe.core.manifest import Manifest
from qpipe.core.outcome import Outcome, RunResult, finished
from qpipe.core.priority import priorities
from qpipe.core.refusing import Refusing
from qpipe.core.run_settings import RunSettings
from qpipe.core.store import Artifact, ArtifactStore
from qpipe.core.work import Miss, Pending, changed_input, digests, error_of, manifest, work_item
from qpipe.errors import (
    InterruptedRunError,
    OutOfMemoryError,
    OutOfSpaceError,
    QpipeError,
    StageError,
    StageTimeoutError,
    StoreError,
    WorkerCrashError,
)

# How a worker ends that takes all of its pass along, whichever node is to blame.
_ENDS = (OutOfMemoryError, StageTimeoutError, WorkerCrashError)

# Seconds between looks at a lock that another process holds.
_POLL = 0.1


def run(
    graph: Graph,
    *,
    store: ArtifactStore,
    executor: Executor,
    emit: Emit,
    settings: RunSettings | None = None,
    outcomes: dict[str, Outcome] | None = None,
) -> RunResult:
    """Bring every node of the graph into the store.

    ``outcomes`` takes them by node id as nodes end, for who wants to know before all have.

    Raises InterruptedRunError on KeyboardInterrupt, after stopping the workers; what was finished
    by then is kept.
    """
    settings = settings or RunSettings()
    ended = {} if outcomes is None else outcomes
    for node in graph:
        ended.pop(node, None)
    ranks = priorities(graph, settings.jobs)
    pending, lookahead = Pending(ranks), Lookahead(ranks, executor.fits)
    again = Again(settings.again, settings.compares)
    dropping = Dropping(graph, store, settings, ended, emit)
    held_up = HeldUp(emit)
    return _Run(
        graph, store, executor, emit, settings, ended, pending, lookahead, again, dropping, held_up
    ).run()


@dataclass
class _Run:
    graph: Graph
    store: ArtifactStore
    executor: Executor
    emit: Emit
    settings: RunSettings
    outcomes: dict[str, Outcome]
    pending: Pending
    """Nodes to be made, once there is room."""
    lookahead: Lookahead
    again: Again
    dropping: Dropping
    held_up: HeldUp
    missing_inputs: dict[str, int] = field(default_factory=dict)
    ready: deque[Node] = field(default_factory=deque)
    """Nodes whose inputs are there, not yet looked up."""
    contended: dict[str, Node] = field(default_factory=dict)
    """Nodes whose artifact is being made, by another process or for another node of this run."""
    running: dict[str, Claim] = field(default_factory=dict)
    shared: set[str] = field(default_factory=set)
    """Nodes that run in a pass with others."""
    refused: bool = False
    """Whether it was asked what cannot run here."""
    stopped_by: str = ""
    """Why nothing new starts, once nothing does."""

    def run(self) -> RunResult:
        started = time.monotonic()
        nodes = self.graph.values()
        subjects = dict.fromkeys(node.made_for for node in nodes if node.made_for)
        self.emit(RunStarted({node.id: node.name for node in nodes}, [*subjects]))
        try:
            self._loop()
        except KeyboardInterrupt:
            self._stop()
            self._finish("interrupted", started)
            raise InterruptedRunError(
                "interrupted; finished work is kept, and the same command goes on from there"
            ) from None
        except BaseException:
            self._stop()
            self._finish("failed", started)
            raise
        result = RunResult({node: self.outcomes[node] for node in self.graph})
        self._finish(result.status, started)
        return result

    def _stop(self) -> None:
        try:
            self.executor.cancel()
        finally:
            for claim in self.running.values():
                claim.release()

    def _finish(self, status: str, started: float) -> None:
        self.executor.rest()
        self.store.sync()
        for outcome in self.outcomes.values():
            if self.dropping.is_untold(outcome.node):
                self.emit(finished(outcome))
        counts = Counter(str(self.outcomes[n].status) for n in self.graph if n in self.outcomes)
        self.emit(RunFinished(status, dict(counts), time.monotonic() - started))

    def _loop(self) -> None:
        self.lookahead.expect(self.graph.values())
        for node in self.graph.values():
            self.missing_inputs[node.id] = len(set(node.inputs.values()))
            if not node.inputs:
                self.ready.append(node)
        while True:
            while self.ready:
                self._look_up(self.ready.popleft())
            self._start_what_fits()
            if not (self.ready or self.running or self.contended or self.pending):
                return
            if not self.ready:
                self._collect()
            self.ready.extend(self.contended.values())

    # -- starting -------------------------------------------------------------------------------

    def _look_up(self, node: Node) -> None:
        if self.missing_inputs[node.id]:
            return  # one whose bytes went is being made again
        inputs = self._inputs(node)
        key = node.key(digests(node, inputs))
        try:
            artifact, damage = self.store.lookup(key, lambda text: self.emit(Warned(text)))
        except QpipeError as error:
            self._fail(node, error)
            return
        if damage is not None and damage.moved_to is not None:
            for text in descendants.warnings(self.store, node.name, damage):
                self.emit(Warned(text))
        if artifact is not None and self.again.wants(node, key):
            if problem := barred(artifact.path):
                self._fail(node, StoreError(f"{node.name}: it cannot be made again: {problem}"))
                return
            self.again.replace(artifact)
        elif artifact is not None:
            if node.runtime.asides and (refusal := self.settings.refuses(node)):
                self._end_refused(node, refusal)
                return
            self.store.remember(node.id, key)
            self._end(Outcome(node, "cached", artifact))
            return
        if kept := self.dropping.recall(node, key):
            self._end(Outcome(node, "cached", kept))
            return
        if went := self.dropping.needed(node):
            self._make_anew(went)
            return
        sizes = {role: each.manifest.size for role, each in inputs.items()}
        miss = Miss(node, key, inputs, node.runtime.resources.with_inputs(sizes))
        if node.id not in self.contended:
            self.pending.add(miss)
        elif self.executor.has_room(miss.needs):
            self._start(miss)

    def _make_anew(self, nodes: Sequence[str]) -> None:
        """Take back the ends of nodes whose bytes went, so that they are made first."""
        for node in nodes:
            del self.outcomes[node]
            for user in self.graph.users[node]:
                self.missing_inputs[user] += 1
            self.ready.append(self.graph[node])

    def _end_refused(self, node: Node, error: QpipeError) -> None:
        self._end(Outcome(node, "failed", error=error))
        self._skip_users(node, node.name)
        self.stopped_by = self.stopped_by or ("" if self.settings.leaves_out else FORESEEN)

    def _start_what_fits(self) -> None:
        if self.pending and not self.refused:
            self.refused = True
            asked = Refusing(self.store, self.executor, self.settings, self.again)
            for node, error in asked.refused(self.graph, self.outcomes):
                self._end_refused(node, error)
            if not self.stopped_by:
                self.executor.foresee([n for n in self.graph.values() if n.id not in self.outcomes])
        for miss in self.pending.take(self._may_start):
            if miss.node.id in self.outcomes:
                continue
            if self.stopped_by:
                self._skip(miss.node)
            elif why := self.executor.check(miss.needs):
                self._fail(miss.node, StageError(f"{miss.node.name}: {why}"))
            else:
                self._start(miss)

    def _may_start(self, miss: Miss) -> bool:
        """True if a node fits now, or will not start at all."""
        if self.stopped_by or miss.node.id in self.outcomes or self.executor.check(miss.needs):
            return True
        room = self.executor.has_room(miss.needs)
        if not room:
            self.held_up.tell(miss, self.executor.held_up())
        return room and self.lookahead.allows(miss.node.id, miss.needs)

    def _start(self, miss: Miss) -> None:
        """Submit a node, and those that can be made in one pass with it."""
        if self.stopped_by:
            self._skip(miss.node)
            return
        together = [one for one in self.pending.one_pass(miss) if one.node.id not in self.outcomes]
        items = [item for item in map(self._claimed, together) if item is not None]
        if not items:
            return
        try:
            logs = self.executor.submit(*items)
        except QpipeError as error:
            for item in items:
                self._let_go(item.node)
                self._fail(item.node, error)
            return
        self.lookahead.began([item.node for item in items], items[0].needs)
        if len(items) > 1:
            self.shared.update(item.node.id for item in items)
        for item, log in zip(items, logs, strict=True):
            name = item.node.name
            if cause := self.pending.alone.get(item.node.id):
                # Said only now: after a failure nothing new starts, and this may never come to it.
                self.emit(
                    Warned(f"{name}: made again by itself, as its pass with others ended: {cause}")
                )
            self.emit(NodeStarted(item.node.id, name, item.key, log, items[0].node.id))

    def _claimed(self, miss: Miss) -> WorkItem | None:
        """The work item of a node; None if another process is making it or has just made it."""
        node, key = miss.node, miss.key
        try:
            claim = self.store.claim(key)
        except QpipeError as error:
            self._fail(node, error)
            return None
        if claim is None:
            if node.id not in self.contended:
                self.contended[node.id] = node
                if all(claim.key != key for claim in self.running.values()):
                    self.emit(NodeWaiting(node.id, node.name, key))
            return None
        self.contended.pop(node.id, None)
        self.running[node.id] = claim
        claim.replacing = self.again.replaces(key)
        if not claim.replacing and os.path.lexists(self.store.paths.artifact(key)):
            # Whoever had the lock finished between our lookup and our claim.
            self._let_go(node)
            self.ready.append(node)
            return None
        return work_item(miss, claim, self.graph)

    def _inputs(self, node: Node) -> dict[str, Artifact]:
        """Inputs by role, without those that could not be made and that the node does without."""
        artifacts = {role: self.outcomes[node_id].artifact for role, node_id in node.inputs.items()}
        return {role: artifact for role, artifact in artifacts.items() if artifact is not None}

    # -- ending ---------------------------------------------------------------------------------

    def _collect(self) -> None:
        finished: list[tuple[Node, Manifest]] = []
        failed: list[tuple[Node, QpipeError]] = []
        for event in self.executor.wait(_POLL):
            node = event.item.node
            if isinstance(event, WorkProgress):
                self.emit(
                    NodeProgress(
                        node.id, node.name, event.done, event.total, event.unit, event.note
                    )
                )
            elif error := changed_input(self.store, event, self._inputs(node)) or error_of(event):
                failed.append((node, error))
            elif isinstance(event.outcome, WorkOutput):
                finished.append((node, manifest(event.item, event.outcome, self._inputs(node))))
        self._commit(finished)
        for node, error in failed:
            self._let_go(node)
            if node.id in self.shared and isinstance(error, _ENDS):
                self._make_alone(node, error)
            else:
                self._fail(node, error)

    def _make_alone(self, node: Node, error: QpipeError) -> None:
        """Try again what may only have been in the company of the one to blame."""
        self.shared.discard(node.id)
        self.lookahead.stopped(node)
        self.pending.alone[node.id] = error
        self.ready.append(node)

    def _commit(self, finished: Sequence[tuple[Node, Manifest]]) -> None:
        results = self.store.commit_all(
            [(self.running[n.id], manifest) for n, manifest in finished]
        )
        for (node, _), result in zip(finished, results, strict=True):
            claim = self.running[node.id]
            self._let_go(node)
            if isinstance(result, QpipeError):
                self._fail(node, result)
            else:
                if compared := self.again.made(node, result, claim.kept_at):
                    self.emit(compared)
                self._end(Outcome(node, "ran", result))

    def _let_go(self, node: Node) -> None:
        # Out of `running` last: an interrupt in between releases it once more, which does nothing.
        self.running[node.id].release()
        del self.running[node.id]

    def _fail(self, node: Node, error: QpipeError) -> None:
        if isinstance(error, OutOfSpaceError):
            self._run_out_of_space(node, error)
            return
        self._end(Outcome(node, "failed", error=error))
        self.stopped_by = self.stopped_by or ("" if self.settings.keep_going else AFTER_FAILURE)
        self._skip_users(node, node.name)

    def _run_out_of_space(self, node: Node, error: OutOfSpaceError) -> None:
        """End the run: that is no failure of one node, and it is said once."""
        if self.stopped_by == DISK_FULL:
            self._skip(node)
            return
        left = [each for each in self.graph.values() if each.id not in self.outcomes]
        whole = OutOfSpaceError(f"{error}{self.settings.shortage(left)}")
        self._end(Outcome(node, "failed", error=whole))
        self.stopped_by = DISK_FULL
        self._skip_users(node, DISK_FULL)

    def _skip(self, node: Node) -> None:
        self._end(Outcome(node, "skipped", blocked_by=self.stopped_by))
        self._skip_users(node, self.stopped_by)

    def _skip_users(self, node: Node, why: str) -> None:
        for user in self.graph.downstream(node.id, stop=self.outcomes):
            self._end(Outcome(self.graph[user], "skipped", blocked_by=why))

    def _end(self, outcome: Outcome) -> None:
        node, artifact = outcome.node, outcome.artifact
        self.outcomes[node.id] = outcome
        self.lookahead.ended(node, artifact)
        self.contended.pop(node.id, None)
        if not self.dropping.is_untold(node):
            self.emit(finished(outcome))
        for user in self.graph.users[node.id]:
            if artifact is None and self.graph[user].needs(node.id):
                continue
            self.missing_inputs[user] -= 1
            if self.missing_inputs[user] == 0 and user not in self.outcomes:
                self.ready.append(self.graph[user])
        self.dropping.ended(outcome)
