"""Synthetic nodes and graphs, and an executor that does next to nothing: for tests and benchmarks.

`measure` is how the core's own overhead is measured.
"""

from __future__ import annotations

import itertools
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qpipe.core import runner
from qpipe.core.claim import Claim
from qpipe.core.events import Event
from qpipe.core.executor import WorkEnd, WorkItem, WorkOutput, WorkProgress
from qpipe.core.forecast import forecast
from qpipe.core.graph import Graph, Node, Resources, Runtime
from qpipe.core.key import Json, bytes_sha256
from qpipe.core.manifest import FileEntry, Manifest, Usage
from qpipe.core.outcome import RunResult
from qpipe.core.run_settings import RunSettings
from qpipe.core.store import Artifact, ArtifactStore
from qpipe.errors import QpipeError


def node(
    name: str,
    *,
    inputs: Mapping[str, Node] | None = None,
    params: Mapping[str, Json] | None = None,
    runtime: Runtime | None = None,
    version: int = 1,
) -> Node:
    """A node that, run by `InstantExecutor`, writes its parameter ``text`` (default: its name)."""
    return Node(
        name=name,
        stage="toy",
        version=version,
        params=params if params is not None else {"text": name},
        engine={},
        inputs={role: source.id for role, source in (inputs or {}).items()},
        runtime=runtime or Runtime(entry="tests.toys:Write"),
    )


def tree(count: int) -> Graph:
    """``count`` nodes; each takes the outputs of two that came before it."""
    nodes: list[Node] = []
    for index in range(count):
        sources = {"a": nodes[(index - 1) // 2], "b": nodes[index // 3]} if index else {}
        nodes.append(
            node(f"n{index}", inputs=sources, params={"text": f"n{index}", "level": index})
        )
    return Graph(nodes)


def write_text(folder: Path, text: str) -> list[FileEntry]:
    """One file in a claim's folder, and its entry."""
    data = text.encode()
    (folder / "out.txt").write_bytes(data)
    return [FileEntry("out.txt", len(data), bytes_sha256(data))]


def write(job: WorkItem) -> WorkOutput | QpipeError:
    """The work of an instant job."""
    text = str(job.node.params.get("text", job.node.name))
    return WorkOutput(write_text(job.out, text), usage=Usage(seconds=1.5))


@dataclass
class InstantExecutor:
    """Does all submitted jobs at once in `wait`, in this process; ``calls`` are nodes' names,
    ``passes`` those of each worker."""

    work: Callable[[WorkItem], WorkOutput | QpipeError] = write
    room: int = 64
    calls: list[str] = field(default_factory=list)
    cancelled: bool = False
    jobs: list[WorkItem] = field(default_factory=list)
    passes: list[list[str]] = field(default_factory=list)

    def check(self, needs: Resources) -> str | None:
        return f"it needs {needs.gpus} GPUs" if needs.gpus else None

    def has_room(self, needs: Resources) -> bool:
        return len(self.jobs) < self.room

    def held_up(self) -> str:
        return ""

    def foresee(self, nodes: Sequence[Node]) -> None:
        """Have nothing ready."""

    def rest(self) -> None:
        pass

    def fits(self, needs: Sequence[Resources]) -> bool:
        return len(needs) <= self.room

    def submit(self, *jobs: WorkItem) -> Sequence[str | None]:
        self.jobs.extend(jobs)
        self.passes.append([job.node.name for job in jobs])
        return [None for _ in jobs]

    def wait(self, timeout: float) -> Sequence[WorkEnd | WorkProgress]:
        if not self.jobs:
            time.sleep(timeout)
        done = []
        for job in self.jobs:
            self.calls.append(job.node.name)
            done.append(WorkEnd(job, self.work(job)))
        self.jobs.clear()
        return done

    def cancel(self) -> None:
        self.cancelled = True
        self.jobs.clear()


def manifest(key: str, files: Sequence[FileEntry], *, name: str = "toy") -> Manifest:
    """The manifest of an artifact that nothing went into."""
    return Manifest(
        key=key,
        id=bytes_sha256(key.encode()),
        name=name,
        stage="toy",
        version=1,
        params={},
        engine={},
        inputs={},
        files=files,
        facts={},
        usage=Usage(seconds=2.0),
        created=time.time(),
    )


def key_of(label: object) -> str:
    """A key for a test."""
    return bytes_sha256(str(label).encode())


def put(store: ArtifactStore, label: object, *, text: str | None = None) -> Artifact:
    """Make and commit an artifact with one file."""
    key = key_of(label)
    claim = claimed(store, key)
    files = write_text(claim.folder, str(label) if text is None else text)
    return store.commit(claim, manifest(key, files, name=str(label)))


def claimed(store: ArtifactStore, key: str) -> Claim:
    """A claim that must succeed."""
    claim = store.claim(key)
    assert claim is not None
    return claim


def run(
    graph: Graph, store: ArtifactStore, executor: InstantExecutor | None = None, **settings: Any
) -> tuple[RunResult, list[Event]]:
    """Run a graph, with these `RunSettings`, and keep its events."""
    events: list[Event] = []
    result = runner.run(
        graph,
        store=store,
        executor=executor or InstantExecutor(),
        emit=events.append,
        settings=RunSettings(**settings),
    )
    return result, events


@dataclass(frozen=True)
class Overhead:
    """Seconds for a graph of ``nodes`` nodes; ``peak_rss`` in bytes, of this process so far."""

    nodes: int
    build: float
    plan: float
    all_missing: float
    all_cached: float
    plan_cached: float
    peak_rss: int


def measure(nodes: int, folder: Path) -> Overhead:
    """The core's own time: build and key the graph, plan it, run it twice."""
    marks = [time.perf_counter()]
    graph = tree(nodes)
    marks.append(time.perf_counter())
    store = ArtifactStore(folder / f"store-{nodes}")
    steps: list[Callable[[], object]] = [
        lambda: forecast(graph, store),
        lambda: run(graph, store),
        lambda: run(graph, store),
        lambda: forecast(graph, store),
    ]
    for step in steps:
        step()
        marks.append(time.perf_counter())
    store.close()
    build, plan, missing, cached, plan_cached = (b - a for a, b in itertools.pairwise(marks))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Overhead(nodes, build, plan, missing, cached, plan_cached, peak)
