"""One job through an executor, with a real claim: what every executor's tests start from."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from qpipe.core import runner
from qpipe.core.claim import Claim
from qpipe.core.events import Event
from qpipe.core.executor import Executor, WorkEnd, WorkItem, WorkOutput, WorkProgress
from qpipe.core.graph import Graph, Node, Resources, Runtime
from qpipe.core.key import Json
from qpipe.core.outcome import RunResult
from qpipe.core.run_settings import RunSettings
from qpipe.core.store import ArtifactStore
from qpipe.errors import QpipeError
from tests.core.synthetic import claimed, node


def toy(
    stage: str,
    params: Mapping[str, Json],
    *,
    name: str = "toy",
    resources: Resources | None = None,
    where: Mapping[str, Json] | None = None,
    timeout: float | None = None,
    python: str | None = None,
) -> Node:
    """A node of tests/toys.py."""
    runtime = Runtime(
        f"tests.toys:{stage}", resources or Resources(), python, timeout, dict(where or {})
    )
    return node(name, params=params, runtime=runtime)


def sharing(passes: Path, *texts: str) -> Graph:
    """A model, and what writes each of ``texts`` in one pass over it."""
    model = toy("Write", {"text": "model"})
    runtime = Runtime(
        "tests.toys:WriteOnce", Resources(cpus=1), where={"passes": str(passes)}, reads_once="model"
    )
    users = [
        node(text, inputs={"model": model}, params={"text": text}, runtime=runtime)
        for text in texts
    ]
    return Graph([model, *users])


@dataclass
class Bench:
    """An executor, a store to claim from, and what has happened so far."""

    executor: Executor
    store: ArtifactStore
    claims: list[Claim] = field(default_factory=list)
    progress: list[WorkProgress] = field(default_factory=list)
    done: list[WorkEnd] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    coming: deque[WorkEnd | WorkProgress] = field(default_factory=deque)

    def share(self, passes: Path, *texts: str) -> RunResult:
        """Run `sharing` to its end, whatever fails."""
        return runner.run(
            sharing(passes, *texts),
            store=self.store,
            executor=self.executor,
            emit=self.events.append,
            settings=RunSettings(keep_going=True),
        )

    def submit(self, job_node: Node, inputs: Mapping[str, Path] | None = None) -> WorkItem:
        """Claim and start a node; the job. ``log`` is kept in ``logs``."""
        claim = claimed(self.store, job_node.key({}))
        self.claims.append(claim)
        job = WorkItem(
            job_node,
            claim.key,
            dict(inputs or {}),
            claim.folder,
            claim.partial,
            claim.fd,
            job_node.runtime.resources,
        )
        (self.log,) = self.executor.submit(job)
        return job

    def wait(self, *, seconds: float = 30.0) -> WorkOutput | QpipeError:
        """Until the next job ends; its outcome, which is the last in ``done``."""
        end = time.monotonic() + seconds
        while True:
            # Two may end at once: the other one is for the next call.
            while self.coming:
                event = self.coming.popleft()
                self._keep(event)
                if isinstance(event, WorkEnd):
                    return event.outcome
            assert time.monotonic() < end, "no job ended"
            self.coming.extend(self.executor.wait(0.1))

    def outcome(
        self, job_node: Node, inputs: Mapping[str, Path] | None = None
    ) -> WorkOutput | QpipeError:
        """Start a node and wait for its end."""
        self.submit(job_node, inputs)
        return self.wait()

    def until(self, condition: Callable[[], object], *, seconds: float = 20.0) -> None:
        """Let the executor work until something is true."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "waited too long"
            self.coming.extend(self.executor.wait(0.02))
            while self.coming:
                self._keep(self.coming.popleft())

    def _keep(self, event: WorkEnd | WorkProgress) -> None:
        if isinstance(event, WorkEnd):
            self.done.append(event)
        else:
            self.progress.append(event)

    def close(self) -> None:
        """Stop everything."""
        self.executor.cancel()
        for claim in self.claims:
            claim.release()
        self.store.close()
