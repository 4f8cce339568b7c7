"""Take models out of the store: the folder that they become."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path

from qpipe.core.layout import DEFAULT_RUNS
from qpipe.core.store import ArtifactStore
from qpipe.errors import UsageError, nearest
from qpipe.export import making, provenance, sums
from qpipe.export.publishing import Publishing
from qpipe.export.target import Export, Exported, ExportedFile, ExportTarget
from qpipe.results.comparison import Comparison
from qpipe.session import publishing
from qpipe.session.exportable import named

SMALLEST_PART = 10**6
"""The fewest bytes of ``split_size``: llama-gguf-split counts in whole MB (--split-max-size)."""

TARGETS = ("folder", "ollama", "hf", "vllm", "card")


@dataclass(frozen=True)
class ExportResult:
    """Answer to an export: the folder, what the target wrote, and notes for its user."""

    folder: Path
    target: str
    exported: Exported
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ExportOptions:
    """Settings of an export; see `Export`."""

    only: Sequence[str] = ()
    split_size: int | None = None
    name: str | None = None
    command: str = ""
    publishing: Publishing = field(default_factory=Publishing)
    run: bool = True
    memory: int | None = None


def export(
    names: Sequence[str],
    to: str,
    out: str | Path,
    *,
    store: Path,
    runs: Path | None = None,
    options: ExportOptions = ExportOptions(),
    progress: Callable[[int, int], None] = lambda done, total: None,
    say: Callable[[str], None] = lambda note: None,
) -> ExportResult:
    """Write the models of runs, or of keys, to the new folder ``out``.

    Raises UsageError for what is not there or cannot leave so, StoreError for a damaged artifact
    and a folder that cannot be written.
    """
    if not os.fspath(out):
        raise UsageError("--out '': names no folder")
    opened, final, notes = ArtifactStore(store), Path(out), list[str]()
    target = load_target(to)
    _refuse(options, to)

    def note(sentence: str) -> None:
        notes.append(sentence)
        say(sentence)

    try:
        chosen = named(names, opened, runs or Path(os.environ.get("QPIPE_RUNS") or DEFAULT_RUNS))
        request = Export(
            chosen.models(options.only),
            Comparison.of(chosen.rows),
            final,
            final,
            opened.digests,
            split_size=options.split_size or target.largest,
            name=options.name,
            command=options.command,
            run=options.run,
            memory=options.memory,
            note=note,
            progress=progress,
            runs=chosen.runs,
            publishing=options.publishing,
        )
        target.refuse(request)
        request = publishing.begun(request)
        exported = _at_its_place(target, request, opened.paths.root)
        if options.run:
            exported = target.use(request, exported)
        if request.publishing.online:
            answer = publishing.published(request, final, note)
            exported = replace(exported, more={**exported.more, "upload": answer})
    finally:
        opened.close()
    return ExportResult(final, to, exported, tuple(notes))


def _refuse(options: ExportOptions, to: str) -> None:
    """Raises UsageError for options that cannot be, or are not for this form."""
    if options.split_size is not None and options.split_size < SMALLEST_PART:
        raise UsageError(
            f"--split-size: {options.split_size:,} bytes are too few: a part has 1MB at least, as "
            "with llama-gguf-split; give more (4GB), or leave it out for one file"
        )
    publishing.refuse(options.publishing, to)
    if options.memory is not None and to != "vllm":
        raise UsageError(f"--memory: is for --to vllm, and this is --to {to}; leave it out")


def _at_its_place(target: ExportTarget, request: Export, store: Path) -> Exported:
    """Write the export; of one that is to be uploaded and is there already, only make sure of it.

    Raises UsageError where something else is.
    """
    try:
        making.refuse(request.out)
    except UsageError:
        if not (request.publishing.online and (request.out / sums.NAME).is_file()):
            raise
        return _there(target, request, store)
    with making.filling(request.out) as aside:
        return _whole(target, replace(request, folder=aside))


def _there(target: ExportTarget, request: Export, store: Path) -> Exported:
    """Make sure of what is at its place. Raises UsageError where that is another export.

    It is made again within the store, where links take no room, and what is known is not read.
    """
    with tempfile.TemporaryDirectory(prefix=".export-", dir=store) as folder:
        again = replace(request, folder=Path(folder), note=lambda note: None)
        exported = _whole(target, again)
        names = publishing.differences(request, Path(folder))
        if set(names) - publishing.EDITED:
            raise UsageError(
                f"--out {request.out}: is not this export ({', '.join(names[:3])}"
                f"{', …' if len(names) > 3 else ''} would be otherwise): name a folder that is not "
                "there yet"
            )
    if names:
        request.note(f"{', '.join(names)} was changed by hand, and goes as it is")
        _attest(target, replace(request, folder=request.out), exported.files)
    return exported


def _whole(target: ExportTarget, request: Export) -> Exported:
    """Write what the target writes, its provenance, and the sums of all files."""
    exported = target.write(request)
    _attest(target, request, exported.files)
    added = [ExportedFile(name) for name in (provenance.NAME, sums.NAME)]
    return replace(exported, files=[*exported.files, *added])


def _attest(target: ExportTarget, request: Export, files: Sequence[ExportedFile]) -> None:
    """Write what was made from what, and the digests of all."""
    (request.folder / provenance.NAME).unlink(missing_ok=True)
    digests = sums.of(request.folder, request.digests)
    provenance.write(request, target.name, files, digests)
    sums.write(request.folder, request.digests)


def load_target(name: str) -> ExportTarget:
    """Return the target of this name. Raises UsageError if there is none."""
    if name not in TARGETS:
        raise UsageError(f"--to {name}: there is no such target; {nearest(name, TARGETS)}")
    module = import_module(f"qpipe.export.targets.{name}")
    classes = [value for value in vars(module).values() if isinstance(value, type)]
    own = (one for one in classes if one.__module__ == module.__name__)
    (target,) = [one for one in own if issubclass(one, ExportTarget)]
    made: ExportTarget = target()
    return made
