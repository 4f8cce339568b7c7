"""Keep a run's events, one JSON document a line."""

from __future__ import annotations

import json
from pathlib import Path

from qpipe.core.events import Event, NodeProgress

# Seconds between two notes of one node's progress.
_PROGRESS_EVERY = 5.0


class Recorder:
    """A listener that appends every event to a file; of progress, a line now and then."""

    def __init__(self, path: Path) -> None:
        """Open the file, and create its folder."""
        path.parent.mkdir(parents=True, exist_ok=True)
        # Line by line, so that the file can be followed while the run goes on.
        self._file = path.open("a", buffering=1, encoding="utf-8")
        self._last: dict[str, float] = {}
        self._trouble: OSError | None = None

    def __call__(self, event: Event) -> None:
        """Append one event."""
        if isinstance(event, NodeProgress):
            if event.at - self._last.get(event.node, 0.0) < _PROGRESS_EVERY:
                return
            self._last[event.node] = event.at
        if self._trouble is None:
            try:
                self._file.write(json.dumps(event.record(), allow_nan=False) + "\n")
            except OSError as error:
                # A full disk must not end a run for its log; `close` says what is missing.
                self._trouble = error

    def close(self) -> str | None:
        """Close the file; return in words why events are missing from it, if any are."""
        try:
            self._file.close()
        except OSError as error:
            self._trouble = self._trouble or error
        if self._trouble is None:
            return None
        return f"{self._file.name} is incomplete: {self._trouble}"
