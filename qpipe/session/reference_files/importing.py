"""A reference file put into the store, checked, under the key that a run looks for."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from qpipe.core.events import Event
from qpipe.core.outcome import Outcome
from qpipe.core.runner import run
from qpipe.core.store import ArtifactStore
from qpipe.errors import DataError, UsageError
from qpipe.evaluators.reference_file import NAME, ReferenceFile
from qpipe.evaluators.reference_files import header
from qpipe.evaluators.reference_files.about import FileAbout
from qpipe.evaluators.reference_files.header import FileHeader
from qpipe.executors.inline import InlineExecutor
from qpipe.machine.capacity import usable_cores
from qpipe.recipe.draft import ExecutorDraft, JobDraft, RunDraft
from qpipe.recipe.originals import DOWNLOAD
from qpipe.recipe.planner import plan
from qpipe.recipe.reference_file import is_reference_file
from qpipe.recipe.stage_drafts import plain
from qpipe.session.plans import pinner_of
from qpipe.sources.download import Download
from qpipe.support.file_kinds import REFERENCE_FILE, REFERENCE_SUFFIX, kind_of
from qpipe.support.files import expanded, is_file

_REFERENCE = "original"


@dataclass(frozen=True)
class ImportedFile:
    """A reference file in the store: its key, where it is there, and what it says; ``cached``: it
    was there before."""

    key: str
    file: Path
    about: FileAbout
    cached: bool


def described(file: Path) -> FileHeader:
    """Read the header of a reference file. Raises UsageError where there is none, DataError for
    another file."""
    if not is_file(file):
        raise UsageError(f"{file}: there is no such file")
    return header.read(file)


def import_file(
    file: str, *, store: Path, on_event: Callable[[Event], None] = lambda event: None
) -> ImportedFile:
    """Check every byte of a reference file and put it into the store: a link where there can be
    one, else a copy.

    Raises UsageError for another name, SourceError where it cannot be had, DataError for one that
    is damaged.
    """
    _require_name(file)
    opened = ArtifactStore(store)
    cores = usable_cores()
    planned = plan(_draft(file, cores), pinner_of("local", store))
    outcomes: dict[str, Outcome] = {}
    try:
        run(
            planned.graph,
            store=opened,
            executor=InlineExecutor(),
            emit=on_event,
            outcomes=outcomes,
        )
    finally:
        opened.close()
    if error := next((o.error for o in outcomes.values() if o.error is not None), None):
        raise error
    (job,) = planned.jobs
    made = outcomes[job.nodes[_REFERENCE]]
    if made.artifact is None:
        raise DataError(f"{file}: it could not be imported")
    place = Path(os.path.relpath(made.artifact.path / NAME))
    about = header.read(made.artifact.path / NAME).about
    return ImportedFile(made.artifact.key, place, about, made.status == "cached")


def _require_name(file: str) -> None:
    if is_reference_file(file):
        return
    path = expanded(file)
    kind = kind_of(path, UsageError) if is_file(path) else None
    remedy = f"; call it {path.stem}{REFERENCE_SUFFIX}" if kind == REFERENCE_FILE else ""
    raise UsageError(
        f"{file}: {f'is {kind}, and ' if kind else ''}the name of a reference file, as `qpipe "
        f"reference export` writes it, ends in {REFERENCE_SUFFIX}{remedy}"
    )


def _draft(file: str, cores: int) -> RunDraft:
    """The two stages that a run with ``run.reference`` has, alone."""
    download = plain(DOWNLOAD, Download, {"source": file, "revision": None})
    reference = plain(_REFERENCE, ReferenceFile, {})
    reference["needs"] = {"model": DOWNLOAD}
    job = JobDraft(
        varying={},
        called=None,
        overrides=[],
        stages=[download, reference],
        reference=_REFERENCE,
        levels={},
        packed=None,
    )
    executor = ExecutorDraft(
        name="inline", cpus=cores, memory=None, share=True, enforce_memory=False
    )
    return RunDraft(
        jobs=[job],
        notes=[],
        invalid=[],
        skip_invalid=False,
        executor=executor,
        keep_going=None,
        results_only=False,
        objective=[],
        guide=None,
    )
