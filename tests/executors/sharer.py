"""A run in a process of its own: nodes that sleep, and note when they did and with which GPUs.

`python -m tests.executors.sharer FOLDER NAME INTERVALS GPUS COUNT SECONDS` tells what it waits for.
"""

from __future__ import annotations

import sys
from pathlib import Path

from qpipe.core import runner
from qpipe.core.events import Event, NodeWaiting
from qpipe.core.graph import Graph, Resources
from qpipe.core.layout import RunPaths
from qpipe.core.store import ArtifactStore
from qpipe.executors.local import Capacity, LocalExecutor
from tests.contract.running import toy


def tell(event: Event) -> None:
    if isinstance(event, NodeWaiting):
        print(event.name, event.why, flush=True)


def main(folder: str, name: str, intervals: str, gpus: str, count: str, seconds: str) -> None:
    names = gpus.split(",") if gpus else []
    needs = Resources(1, 0, 1 if names else 0)
    nodes = [
        toy("Sleep", {"seconds": float(seconds), "text": f"{name}{index}"}, name=f"{name}{index}",
            resources=needs, where={"intervals": intervals})
        for index in range(int(count))
    ]  # fmt: skip
    executor = LocalExecutor(RunPaths(Path(folder, name)), Capacity(4, None, names))
    store = ArtifactStore(Path(folder, f"store-{name}"))
    runner.run(Graph(nodes), store=store, executor=executor, emit=tell)
    store.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
