"""Ten thousand nodes: memory, and time that grows linearly. The figures are for `make bench`;
the limits here are wide, so that a busy machine does not fail them, and a quadratic loop does."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from qpipe.core.executor import WorkItem, WorkOutput
from qpipe.core.graph import Graph
from qpipe.core.store import ArtifactStore
from qpipe.errors import CheckpointError, QpipeError
from tests.core.synthetic import InstantExecutor, node, run, tree


@pytest.fixture(autouse=True)
def garbage_of_others_kept() -> Iterator[None]:
    """Measure without collecting through what tests before have imported, as all of torch."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where there is one."""
    shm = Path("/dev/shm")
    if not os.access(shm, os.W_OK):
        yield tmp_path
        return
    with TemporaryDirectory(dir=shm) as folder:
        yield Path(folder)


PLAN = """
import sys
from pathlib import Path
from qpipe.core.forecast import forecast
from qpipe.core.store import ArtifactStore
from qpipe.machine.usage import peak_rss
from tests.core.synthetic import tree
found = forecast(tree(10_000), ArtifactStore(Path(sys.argv[1])))
assert len(found) == 10_000
print(peak_rss())
"""


def test_ten_thousand_nodes_are_keyed_and_planned(memory: Path) -> None:
    out = subprocess.run(
        [sys.executable, "-c", PLAN, str(memory / "store")],
        capture_output=True,
        text=True,
        check=True,
    )
    # Not ru_maxrss, which begins at the size of the process that started this one.
    assert int(out.stdout) < 300e6


def test_a_run_takes_time_in_proportion(memory: Path) -> None:
    took = []
    for count in (150, 600):
        graph, store = tree(count), ArtifactStore(memory / f"{count}")
        begun = time.process_time()
        for _ in range(2):
            run(graph, store)
        took.append(time.process_time() - begun)
    assert took[1] < 4 * took[0] * 2


def test_many_failures_are_not_quadratic(memory: Path) -> None:
    """Each of many sources fails, above one long chain that all of them lead to."""

    def fail(job: WorkItem) -> WorkOutput | QpipeError:
        return CheckpointError("broke")

    took = []
    for count in (400, 1600):
        sources = [node(f"s{index}") for index in range(count)]
        inputs = {f"r{index}": source for index, source in enumerate(sources)}
        chain = [node("c0", inputs=inputs)]
        for index in range(1, count):
            chain.append(node(f"c{index}", inputs={"x": chain[-1]}))
        graph = Graph([*sources, *chain])
        begun = time.process_time()
        result, _ = run(
            graph, ArtifactStore(memory / f"{count}"), InstantExecutor(fail), keep_going=True
        )
        took.append(time.process_time() - begun)
        assert result.counts == {"failed": count, "skipped": count}
    assert took[1] < 4 * took[0] * 2.5


def test_descriptors_do_not_run_out(memory: Path) -> None:
    """Only what runs holds a lock, however many nodes wait."""
    store = ArtifactStore(memory / "store")
    most = 0

    class Counting(InstantExecutor):
        def submit(self, *jobs: WorkItem) -> Sequence[str | None]:
            nonlocal most
            most = max(most, len(os.listdir("/proc/self/fd")))  # noqa: PTH208
            return super().submit(*jobs)

    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    result, _ = run(tree(400), store, Counting(room=16))
    assert result.status == "done"
    assert most <= before + 20
    store.close()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
