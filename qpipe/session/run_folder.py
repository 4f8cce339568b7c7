"""The folder of a run: what it is told first, what it knows at any time, and its reports."""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qpipe import __version__
from qpipe.core import file_lock
from qpipe.core.layout import RunPaths
from qpipe.errors import QpipeError, UsageError
from qpipe.support.addresses import without_secrets

if TYPE_CHECKING:
    from qpipe.core.events import Event
    from qpipe.report.run_record import Recorder
    from qpipe.results.comparison import Comparison
    from qpipe.session.context import Context

_NAME_BYTES = 150

Tensors = Mapping[str, Mapping[str, Mapping[str, str]]]
"""What manifests say of tensors, by the key of their artifact: ``models`` (`results.tensors`), and
``losses`` (`results.losses`)."""


class RunFolder:
    """A run's folder, made when it is opened; ``recorder`` keeps its events.

    Raises UsageError where no folder can be made.
    """

    paths: RunPaths
    recorder: Recorder

    def __init__(self, base: Path) -> None:
        from qpipe.report.run_record import Recorder

        self._kept: frozenset[str] = frozenset()
        try:
            self.paths = RunPaths(new_folder(base))
            self.recorder = Recorder(self.paths.events)
        except OSError as error:
            raise UsageError(
                f"no folder for this run can be made in {base.parent} ({error.strerror}); "
                "name another with --runs or QPIPE_RUNS"
            ) from None

    @property
    def name(self) -> str:
        """The name of the run."""
        return self.paths.root.name

    def note(self, document: Mapping[str, Any], tensors: Tensors) -> None:
        """Write run.json and tensors.json while the run goes on. What cannot be written is tried
        again later."""
        with contextlib.suppress(OSError):
            self._keep(tensors)
            file_lock.write_atomic(self.paths.summary, _encoded(document), sync=False)

    def _keep(self, tensors: Tensors) -> None:
        """Write tensors.json, if there are artifacts that it has not got."""
        keys = frozenset(key for section in tensors.values() for key in section)
        if keys != self._kept:
            text = json.dumps({**tensors, "schema": 1}, separators=(",\n ", ": "))
            file_lock.write_atomic(self.paths.tensors, text.encode(), sync=False)
            self._kept = keys

    def finish(
        self, document: Mapping[str, Any], comparison: Comparison, tensors: Tensors
    ) -> str | None:
        """Write run.json, tensors.json, which has what is known of ``tensors``, and the reports;
        return what went wrong in words, None if nothing did.

        A failure to write takes nothing from the answer.
        """
        from qpipe.report import render, runs

        try:
            self._keep(tensors)
            file_lock.write_atomic(self.paths.summary, _encoded(document))
            summary = runs.with_tensors(runs.summary(document, self.paths.summary), tensors)
            for suffix in render.FORMS:
                text = render.render(comparison, suffix, title=self.name, runs=[summary])
                path = self.paths.report(suffix)
                path.write_text(text, encoding="utf-8", errors="backslashreplace")
        except QpipeError as error:
            return str(error)
        except OSError as error:
            return (
                f"{error.filename or self.paths.root}: the run's summary and reports could not be "
                f"written ({error.strerror}); what was made is in the store, and the same command "
                "writes them again"
            )
        return None


class Pace:
    """A pace for what takes a while: seldom enough to cost next to nothing."""

    def __init__(self, *, seconds: float, share: float) -> None:
        """At most every ``seconds``, and for a ``share`` of the time at most."""
        self._seconds, self._share = seconds, share
        self._next = 0.0

    def due(self, event: Event) -> bool:
        """Return whether it may be done now."""
        return event.at >= self._next

    def done(self, began: float) -> None:
        """Take note that it was done, from ``began`` until now."""
        now = time.time()
        self._next = now + max(self._seconds, (now - began) / self._share)


def about(
    context: Context, *, keep_going: bool, told: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Describe a run before anything of it is done: what was asked (or ``told`` in its place),
    where, when and by which qpipe, and the commits that its recipe is locked to."""
    from qpipe.machine.identity import describe

    return {
        **(_asked(context) if told is None else told),
        "keep_going": keep_going,
        "folder": str(Path.cwd()),
        "store": str(context.store.absolute()),
        "started": time.time(),
        "qpipe": __version__,
        "python": sys.version.split()[0],
        "machine": describe(),
        **({"lock": _lock(context)} if told is None else {}),
    }


def _asked(context: Context) -> dict[str, Any]:
    request = context.request
    overrides = [*map(without_secrets, request.overrides)]
    return {
        "command": [
            *("qpipe", "run", request.recipe, *overrides),
            *(["-m"] if request.multirun else []),
            *(["--keep-going"] if context.keep_going else []),
            *(word for stage in context.again for word in ("--again", stage)),
        ],
        "recipe": request.recipe,
        "overrides": overrides,
        "multirun": request.multirun,
    }


def _lock(context: Context) -> dict[str, str]:
    from qpipe.recipe import lock_file

    return dict(lock_file.read(context.request.recipe))


def short_name(recipe: str) -> str:
    """A recipe's name as a part of a folder's, which may have 255 bytes in all."""
    return Path(recipe).stem.encode(errors="replace")[:_NAME_BYTES].decode(errors="ignore")


def new_folder(base: Path) -> Path:
    """Make a folder of this name; of two runs in one second the second gets a number."""
    for number in itertools.count(1):
        folder = base if number == 1 else base.with_name(f"{base.name}_{number}")
        with contextlib.suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder
    raise AssertionError("count() ends never")


def _encoded(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=1, allow_nan=False).encode()
