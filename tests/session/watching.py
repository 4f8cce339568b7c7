"""A run that goes on, as `qpipe report --watch` finds it, and a server of its report."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qpipe.core.events import NodeFinished, RunFinished, RunStarted
from qpipe.core.file_lock import write_atomic
from qpipe.report.run_record import Recorder
from qpipe.session.report_server import ReportServer
from qpipe.session.watched_runs import WatchedRuns
from tests.commands.stores import finished_run


class GoingRun:
    """The toy demo while it is run: its rows come in one after the other."""

    def __init__(self, folder: Path) -> None:
        self.paths = finished_run(folder)
        self.document: dict[str, Any] = json.loads(self.paths.summary.read_bytes())
        self.rows = self.document["rows"]
        self.document["status"] = "running"
        self.recorder = Recorder(self.paths.events)
        self.recorder(RunStarted({str(n): node["name"] for n, node in self._nodes()}))
        self.write(rows=1)

    def _nodes(self) -> list[tuple[int, dict[str, Any]]]:
        return [*enumerate(self.document["nodes"])]

    def write(self, *, rows: int) -> None:
        """Have run.json say so many rows."""
        text = json.dumps({**self.document, "rows": self.rows[:rows]})
        write_atomic(self.paths.summary, text.encode())

    def end(self) -> None:
        """All of it is done."""
        for number, node in self._nodes():
            self.recorder(NodeFinished(str(number), node["name"], "ran"))
        self.recorder(RunFinished("done", {"ran": len(self._nodes())}, 1.0))
        self.recorder.close()
        self.document["status"] = "done"
        self.write(rows=len(self.rows))


@contextmanager
def served(run: GoingRun, notes: list[str]) -> Iterator[ReportServer]:
    """Serve the report of a run; the server has ended afterwards."""
    name = run.paths.root.name
    server = ReportServer(WatchedRuns([name], run.paths.root.parent), notify=notes.append)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()
        run.recorder.close()
