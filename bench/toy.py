"""Synthetic sweeps, and an executor whose work is nothing: what is left is qpipe's own time."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from qpipe.core.executor import WorkEnd, WorkItem, WorkOutput, WorkProgress
from qpipe.core.graph import Plan, Resources
from qpipe.core.manifest import FileEntry, Usage
from qpipe.recipe.draft import ExecutorDraft, JobDraft, RunDraft, StageDraft
from qpipe.recipe.planner import plan
from qpipe.sources.hub_source import HubSource
from qpipe.sources.pinning import Pinner

_DEPTH = 10
_CONTENT = b"toy\n"


def planned(count: int) -> Plan:
    """The plan of a sweep with ``count`` different nodes, from its drafts."""
    return plan(_drafts(count), Pinner((), Path(), {}, _no_hub))


def _no_hub(source: HubSource, last: str | None) -> str:
    raise AssertionError(source)


def _drafts(count: int) -> RunDraft:
    """Jobs that are chains of ten stages; all take one text, which is the first node."""
    jobs: list[JobDraft] = []
    left = count - 1
    while left:
        depth = min(_DEPTH, left)
        jobs.append(_job(len(jobs), depth))
        left -= depth
    return RunDraft(
        jobs=jobs,
        notes=[],
        invalid=[],
        skip_invalid=False,
        executor=ExecutorDraft(
            name="inline", cpus=None, memory=None, share=False, enforce_memory=False
        ),
        keep_going=None,
        results_only=False,
        objective=["ppl"],
        guide=None,
    )


def _job(number: int, depth: int) -> JobDraft:
    stages = [_stage("text", -1, {})]
    for level in range(depth):
        needs = {"text": "text", **({"model": stages[-1]["name"]} if level else {})}
        stages.append(_stage(f"level{level}", number, needs))
    return JobDraft(
        varying={"number": str(number)},
        called=None,
        overrides=[],
        stages=stages,
        reference=None,
        levels={},
        packed=None,
    )


def _stage(name: str, number: int, needs: dict[str, str]) -> StageDraft:
    return StageDraft(
        name=name,
        stage="toy",
        version=1,
        params={"number": number, "level": name, "type": "Q4_0", "rules": {}, "imatrix": None},
        engine={"name": "toy", "version": "1.0"},
        needs=needs,
        source=False,
        entry="bench.toy:nothing",
        python=None,
        reads_once=None,
        imports=[],
        unread={},
        timeout=None,
        resources=asdict(Resources()),
        asides={},
        text_alone=None,
        stand_in=None,
        unpickle=None,
    )


class ToyExecutor:
    """Writes one small file for each job, at once; hashing it would be the worker's work."""

    def __init__(self) -> None:
        self._jobs: deque[WorkItem] = deque()
        digest = hashlib.sha256(_CONTENT).hexdigest()
        self._output = WorkOutput([FileEntry("out.txt", len(_CONTENT), digest)], usage=Usage(0.1))

    def check(self, needs: Resources) -> str | None:
        return None

    def fits(self, needs: Sequence[Resources]) -> bool:
        """Return True: any number does."""
        return True

    def has_room(self, needs: Resources) -> bool:
        return len(self._jobs) < 8

    def held_up(self) -> str:
        return ""

    def foresee(self, nodes: Sequence[object]) -> None:
        """Have nothing ready."""

    def rest(self) -> None:
        """Keep nothing."""

    def submit(self, *jobs: WorkItem) -> Sequence[str | None]:
        self._jobs.extend(jobs)
        return [None for _ in jobs]

    def wait(self, timeout: float) -> Sequence[WorkEnd | WorkProgress]:
        done: list[WorkEnd | WorkProgress] = []
        while self._jobs:
            job = self._jobs.popleft()
            (job.out / "out.txt").write_bytes(_CONTENT)
            done.append(WorkEnd(job, self._output))
        return done

    def cancel(self) -> None:
        self._jobs.clear()
