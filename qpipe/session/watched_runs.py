"""Runs that are looked at while they go on: how far they are, and their report as it stands."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any

from qpipe.report.html.page import page
from qpipe.report.runs import find_run
from qpipe.report.table import Table
from qpipe.session import run_states
from qpipe.session.runs import merged_runs


class WatchedRuns:
    """Runs by their folders: one that is begun later is another, whatever was asked for.

    Raises UsageError for an unknown or damaged run.
    """

    def __init__(self, names: Sequence[str], runs: Path) -> None:
        self._paths = [find_run(name, runs) for name in dict.fromkeys(names)]
        self._names = [str(paths.root) for paths in self._paths]
        self._lock = Lock()
        self._merged_at = ""
        self._merged = merged_runs(self._names, runs)

    @property
    def title(self) -> str:
        """The names of the runs."""
        return self._merged.title

    def state(self) -> dict[str, Any]:
        """Return the version of the report, the runs' status (running while any of them is), and
        how many of how many nodes have ended."""
        records = [run_states.summary(str(p.root), p.root.name) for p in self._paths]
        statuses = list(dict.fromkeys(record["status"] for record in records))
        status = "running" if "running" in statuses else ", ".join(statuses)
        return {
            "version": self._version(status),
            "status": status,
            "ended": sum(sum(record["counts"].values()) for record in records),
            "nodes": sum(len(run.nodes) for run in self._merged.runs),
        }

    def page(self, *, part: bool) -> str:
        """Return the report as it stands; ``part``: without what does not change.

        Raises UsageError for runs that are gone.
        """
        with self._lock:
            version = self.state()["version"]
            if version != self._merged_at:
                self._merged = merged_runs(self._names, Path())
                self._merged_at = version
            merged = self._merged
        table = Table(merged.comparison)
        return page(table, merged.title, merged.runs, version=version, part=part)

    def _version(self, status: str) -> str:
        stamps = [status]
        for paths in self._paths:
            for path in (paths.summary, paths.tensors):
                if path.exists():
                    about = path.stat()
                    stamps.append(f"{about.st_mtime_ns} {about.st_size} {about.st_ino}")
        return sha256("\n".join(stamps).encode()).hexdigest()[:16]
