"""Take models out of the store: which are meant, and the folder that they become."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from qpipe.core import dropped
from qpipe.core.layout import DEFAULT_RUNS
from qpipe.core.manifest import Manifest
from qpipe.core.store import Artifact, ArtifactStore
from qpipe.errors import QpipeError, StoreError, UsageError, nearest
from qpipe.export.model import ExportedModel
from qpipe.export.target import Export, Exported, ExportTarget
from qpipe.machine.filesystem import remove_tree
from qpipe.report.runs import find_run, merge, read_summary
from qpipe.results.comparison import Comparison, ModelRow
from qpipe.session import run_states

TARGETS = ("folder", "ollama", "hf", "vllm")
_MODELS = ("convert", "quantize", "download")


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


def export(
    names: Sequence[str],
    to: str,
    out: str | Path,
    *,
    store: Path,
    runs: Path | None = None,
    options: ExportOptions = ExportOptions(),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ExportResult:
    """Write the models of runs, or of keys, to the new folder ``out``.

    Raises UsageError for what is not there or cannot leave so, StoreError for a damaged artifact
    and a folder that cannot be written.
    """
    opened = ArtifactStore(store)
    notes: list[str] = []
    rows = _rows(names, opened, runs or Path(os.environ.get("QPIPE_RUNS") or DEFAULT_RUNS))
    models = [_model(row, opened) for row in _chosen(rows, options.only)]
    final = Path(out)
    _refuse_folder(final)
    aside = final.absolute().with_name(f".{final.name}.{os.getpid()}.partial")
    request = Export(
        models,
        Comparison.of(rows),
        aside,
        final,
        opened.digests,
        split_size=options.split_size,
        name=options.name,
        command=options.command,
        note=notes.append,
        progress=progress,
    )
    target = load_target(to)
    target.refuse(request)
    try:
        aside.mkdir(parents=True)
        exported = target.write(request)
        if final.is_dir():
            final.rmdir()
        aside.rename(final)
    except OSError as error:
        raise opened.explain(error) from error
    finally:
        remove_tree(aside)
        opened.close()
    return ExportResult(final, to, exported, tuple(notes))


def load_target(name: str) -> ExportTarget:
    """Return the target of this name. Raises UsageError if there is none."""
    if name not in TARGETS:
        raise UsageError(f"--to {name}: there is no such target; {nearest(name, TARGETS)}")
    module = import_module(f"qpipe.export.targets.{name}")
    classes = [value for value in vars(module).values() if isinstance(value, type)]
    (found,) = [one for one in classes if issubclass(one, ExportTarget) and one is not ExportTarget]
    target: ExportTarget = found()
    return target


def _rows(names: Sequence[str], store: ArtifactStore, runs: Path) -> list[ModelRow]:
    """The rows of runs, and of single artifacts as the newest run has them, else without
    figures."""
    rows: list[ModelRow] = []
    summaries = []
    for name in dict.fromkeys(names):
        try:
            summaries.append(read_summary(find_run(name, runs)))
        except UsageError as error:
            rows.append(_of_key(name, store, runs, error))
    merged = merge(summaries).rows if summaries else ()
    return [*merged, *rows]


def _of_key(name: str, store: ArtifactStore, runs: Path, no_run: UsageError) -> ModelRow:
    try:
        key = store.find(Path(name).name)
    except StoreError as error:
        raise UsageError(f"{name}: neither a run ({no_run}) nor a key ({error})") from None
    for row in _rows_of_runs(runs):
        if row.key == key:
            return row
    artifact = _artifact(key, store)
    facts = artifact.manifest.facts
    if artifact.manifest.stage not in _MODELS:
        raise UsageError(
            f"{name}: is no model, but what the stage {artifact.manifest.stage} made; `qpipe ls` "
            "lists models with their formats"
        )
    made_for = facts.get("made_for") or facts.get("name")
    return ModelRow(
        name=str(facts.get("format") or artifact.manifest.name),
        format=None if facts.get("format") is None else str(facts["format"]),
        status="cached",
        model=None if made_for is None else str(made_for),
        size_bytes=artifact.manifest.size,
        key=key,
        artifact=str(artifact.path),
    )


def _rows_of_runs(runs: Path) -> Iterator[ModelRow]:
    """The rows of every run that can be read, the newest run first."""
    for record in run_states.states(str(runs)):
        try:
            yield from read_summary(find_run(record["path"], runs)).rows
        except QpipeError:
            continue


def _chosen(rows: Sequence[ModelRow], only: Sequence[str]) -> list[ModelRow]:
    """The rows that are meant: by name or format, else all that were made but references."""
    there = [row for row in rows if row.key is not None]
    if not only:
        chosen = [row for row in there if not row.reference] or there
        if not chosen:
            raise UsageError("nothing to export: no model of this run was made")
        return chosen
    names = {name: row for row in there for name in (row.name, row.format) if name}
    for name in only:
        if name not in names:
            raise UsageError(f"--only {name}: no such row; {nearest(name, list(names))}")
    wanted = set(only)
    return [row for row in there if wanted & {row.name, row.format}]


def _model(row: ModelRow, store: ArtifactStore) -> ExportedModel:
    assert row.key is not None
    artifact = _artifact(row.key, store)
    ancestors: dict[str, Artifact] = {}
    _gather(artifact.manifest, store, ancestors)
    return ExportedModel(row, artifact, ancestors)


def _artifact(key: str, store: ArtifactStore) -> Artifact:
    artifact, damage = store.lookup(key)
    if damage is not None:
        raise StoreError(f"{key[:12]}: {damage.problem}; run the recipe again")
    if artifact is None:
        raise StoreError(
            f"{key[:12]}: is not in the store {store.paths.root} (any more); name its store with "
            "--store, or run the recipe again: what is missing is made anew"
        )
    return artifact


def _gather(manifest: Manifest, store: ArtifactStore, into: dict[str, Artifact]) -> None:
    """Add what a model was made from, level by level."""
    inputs: Mapping[str, Any] = manifest.inputs
    keys = [entry["key"] for entry in inputs.values() if entry["key"] not in into]
    nearest_ones = [one for key in keys if (one := _known(key, store)) is not None]
    into.update({one.key: one for one in nearest_ones})
    for one in nearest_ones:
        _gather(one.manifest, store, into)


def _known(key: str, store: ArtifactStore) -> Artifact | None:
    try:
        return store.peek(key) or dropped.recall(store, key)
    except StoreError:
        return None


def _refuse_folder(folder: Path) -> None:
    if not folder.exists() and not folder.is_symlink():
        return
    if folder.is_dir() and not any(folder.iterdir()):
        return
    problem = "is not empty" if folder.is_dir() else "is no folder"
    raise UsageError(f"--out {folder}: it {problem}; name one that is not there yet")
