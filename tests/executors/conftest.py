"""A local executor on a bench."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from qpipe.core.layout import RunPaths
from qpipe.core.store import ArtifactStore
from qpipe.executors.local import Capacity, LocalExecutor
from tests.contract.running import Bench

MakeBench = Callable[..., Bench]


@pytest.fixture
def local(tmp_path: Path) -> Iterator[MakeBench]:
    """A function (cpus, memory, gpus, enforce_memory) → a bench with a LocalExecutor."""
    with ExitStack() as stack:

        def make(
            *,
            cpus: int = 2,
            memory: int | None = None,
            gpus: Sequence[str] = (),
            enforce_memory: bool = False,
        ) -> Bench:
            executor = LocalExecutor(
                RunPaths(tmp_path / "run"), Capacity(cpus, memory, gpus), enforce_memory
            )
            bench = Bench(executor, ArtifactStore(tmp_path / "store"))
            stack.callback(bench.close)
            return bench

        yield make
