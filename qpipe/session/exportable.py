"""The models that an export is asked for, by runs and by keys, each with what it was made from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from qpipe.core import dropped
from qpipe.core.manifest import Manifest
from qpipe.core.store import Artifact, ArtifactStore
from qpipe.errors import QpipeError, StoreError, UsageError, nearest
from qpipe.export.model import ExportedModel
from qpipe.report.runs import Summary, find_run, merge, read_summary
from qpipe.results.comparison import ModelRow
from qpipe.session import run_states
from qpipe.support.files import is_folder

_MODELS = ("convert", "quantize", "download")
_TOWERS = "mmproj"


@dataclass(frozen=True)
class Exportable:
    """Rows by which models are chosen, and the summaries of the runs that they are of."""

    rows: Sequence[ModelRow]
    runs: Sequence[Summary]
    store: ArtifactStore

    def models(self, only: Sequence[str]) -> list[ExportedModel]:
        """The models of rows or formats with these names, else all that were made but references.

        Raises UsageError for a name that none has, StoreError for a model that is damaged or gone.
        """
        towers = self._towers()
        return [self._model(row, towers) for row in _chosen(self.rows, only)]

    def _model(self, row: ModelRow, towers: Sequence[Artifact]) -> ExportedModel:
        assert row.key is not None
        artifact = _artifact(row.key, self.store)
        ancestors: dict[str, Artifact] = {}
        _gather(artifact.manifest, self.store, ancestors)
        sources = {row.key, *ancestors}
        own = [one for one in towers if sources.issuperset(_input_keys(one.manifest))]
        return ExportedModel(row, artifact, ancestors, own, self._measured(row))

    def _measured(self, row: ModelRow) -> dict[str, Artifact]:
        """The measurements of a model that are known, and all that they were made from."""
        into: dict[str, Artifact] = {}
        for key in dict.fromkeys(each.key for each in row.measurements if each.key):
            if (one := _known(key, self.store)) is not None:
                into[key] = one
                _gather(one.manifest, self.store, into)
        return into

    def _towers(self) -> list[Artifact]:
        """The towers for images and sound that the runs made, as far as they are there."""
        nodes = (node for run in self.runs for node in run.nodes if node.get("stage") == _TOWERS)
        keys = dict.fromkeys(str(node["key"]) for node in nodes if node.get("key"))
        peeked = [_known(key, self.store) for key in keys]
        there = [one for one in peeked if one is not None and is_folder(one.path)]
        return [_artifact(one.key, self.store) for one in there]


def named(names: Sequence[str], store: ArtifactStore, runs: Path) -> Exportable:
    """Find runs, and single artifacts as the newest run has them, else without figures.

    Raises UsageError for a name that is neither.
    """
    rows: list[ModelRow] = []
    summaries, used = [], []
    for name in dict.fromkeys(names):
        try:
            summaries.append(read_summary(find_run(name, runs)))
        except UsageError as error:
            row, run = _of_key(name, store, runs, error)
            rows.append(row)
            used += run
    merged = merge(summaries).rows if summaries else ()
    return Exportable(_told_apart([*merged, *rows]), [*summaries, *used], store)


def _told_apart(rows: Sequence[ModelRow]) -> list[ModelRow]:
    """The rows of several runs under names that no two models share, by which files, cards and
    provenance are joined: the model's name in front, and digits of the key where that is no help.
    """
    named = _renamed(rows, lambda row: f"{row.model} {row.name}" if row.model else row.name)
    return _renamed(named, lambda row: f"{row.name} {str(row.key)[:8]}")


def _renamed(rows: Sequence[ModelRow], name: Callable[[ModelRow], str]) -> list[ModelRow]:
    """The rows, with this name where the one that they have is of several keys."""
    keys: dict[str, set[str]] = {}
    for row in rows:
        if row.key is not None:
            keys.setdefault(row.name, set()).add(row.key)
    return [
        replace(row, name=name(row)) if row.key and len(keys[row.name]) > 1 else row for row in rows
    ]


def _of_key(
    name: str, store: ArtifactStore, runs: Path, no_run: UsageError
) -> tuple[ModelRow, list[Summary]]:
    try:
        key = store.find(Path(name).name)
    except StoreError as error:
        raise UsageError(f"{name}: neither a run ({no_run}) nor a key ({error})") from None
    for run in _summaries(runs):
        for row in run.rows:
            if row.key == key:
                return row, [run]
    artifact = _artifact(key, store)
    facts = artifact.manifest.facts
    if artifact.manifest.stage not in _MODELS:
        raise UsageError(
            f"{name}: is no model, but what the stage {artifact.manifest.stage} made; `qpipe ls` "
            "lists models with their formats"
        )
    made_for = facts.get("made_for") or facts.get("name")
    row = ModelRow(
        name=str(facts.get("format") or artifact.manifest.name),
        format=None if facts.get("format") is None else str(facts["format"]),
        status="cached",
        model=None if made_for is None else str(made_for),
        size_bytes=artifact.manifest.size,
        key=key,
        artifact=str(artifact.path),
    )
    return row, []


def _summaries(runs: Path) -> Iterator[Summary]:
    """Every run that can be read, the newest first."""
    for record in run_states.states(str(runs)):
        try:
            yield read_summary(find_run(record["path"], runs))
        except QpipeError:
            continue


def _chosen(rows: Sequence[ModelRow], only: Sequence[str]) -> list[ModelRow]:
    """The rows that are meant: by name or format, else all that were made but references."""
    there = list({row.key: row for row in reversed(rows) if row.key is not None}.values())[::-1]
    if not only:
        chosen = [row for row in there if not row.reference] or there
        if not chosen:
            raise UsageError(
                "nothing to export: no model was made there; `qpipe status RUN` says why"
            )
        return chosen
    names = {name: row for row in there for name in (row.name, row.format) if name}
    for name in only:
        if name not in names:
            raise UsageError(f"--only {name}: no such row; {nearest(name, list(names))}")
    wanted = set(only)
    return [row for row in there if wanted & {row.name, row.format}]


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
    keys = [key for key in _input_keys(manifest) if key not in into]
    nearest_ones = [one for key in keys if (one := _known(key, store)) is not None]
    into.update({one.key: one for one in nearest_ones})
    for one in nearest_ones:
        _gather(one.manifest, store, into)


def _input_keys(manifest: Manifest) -> list[str]:
    return list(dict.fromkeys(entry["key"] for entry in manifest.inputs.values()))


def _known(key: str, store: ArtifactStore) -> Artifact | None:
    try:
        return store.peek(key) or dropped.recall(store, key)
    except StoreError:
        return None
