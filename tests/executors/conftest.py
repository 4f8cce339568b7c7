"""A local executor on a bench."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from qpipe.core.graph import Node
from qpipe.core.layout import RunPaths
from qpipe.core.store import ArtifactStore
from qpipe.executors.forking import Forks, ForkServer, can_fork
from qpipe.executors.local import _OWN, Capacity, LocalExecutor
from tests.contract.running import Bench

MakeBench = Callable[..., Bench]


class AlwaysForks(Forks):
    """Forks every worker that may be, from a server with a module that is quick to import."""

    def server(self, nodes: Iterable[Node]) -> ForkServer | None:
        if next(iter(nodes)).runtime.python is not None:
            return None
        if self._server is None or self._server.gone:
            self._server = ForkServer(["decimal"], self.log, self.own)
            while self._server.problem is None and not self._server.gone:
                self._server.listen(0.1)
        return self._server


@pytest.fixture(params=["spawned", "forked"])
def local(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[MakeBench]:
    """A function (cpus, memory, gpus, enforce_memory) → a bench with a LocalExecutor."""
    if request.param == "forked" and not can_fork():
        pytest.skip("no forks here")
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
            if request.param == "forked":
                vars(executor)["_forks"] = AlwaysForks(tmp_path / "imports.log", _OWN)
            bench = Bench(executor, ArtifactStore(tmp_path / "store"))
            stack.callback(bench.close)
            return bench

        yield make
