"""Which artifacts are meant by a model, a stage or a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from qpipe.core.key import Json
from qpipe.core.manifest import Manifest
from qpipe.core.store import ArtifactStore
from qpipe.errors import QpipeError, StoreError, UsageError, nearest
from qpipe.report.runs import find_run, read_summary
from qpipe.session import run_states

# The roles by which an artifact is made from a model, or measures it.
_FROM = ("model", "checkpoint")
# The suffixes of files of which a model has one.
_WEIGHTS = (".gguf", ".safetensors")


class Selection(NamedTuple):
    """Conditions that artifacts have to meet; None: any will do."""

    model: str | None = None
    stage: str | None = None
    run: str | None = None

    def keys(self, store: ArtifactStore, runs: Path) -> set[str] | None:
        """Return the keys of the artifacts that are meant, None for all.

        Raises UsageError for a name that there is not.
        """
        if self == Selection():
            return None
        manifests = dict(_manifests(store))
        keys = set(manifests)
        if self.run is not None:
            keys &= {node["key"] for node in read_summary(find_run(self.run, runs)).nodes}
        if self.stage is not None:
            stages = {key: {manifest.stage} for key, manifest in manifests.items()}
            keys &= _named(self.stage, stages, "--stage")
        if self.model is not None:
            keys &= _named(self.model, _models(manifests, runs), "--model")
        return keys


def _manifests(store: ArtifactStore) -> Iterator[tuple[str, Manifest]]:
    for key in store.all_keys():
        try:
            yield key, Manifest.load(store.paths.artifact(key))
        except (StoreError, OSError):
            continue  # damaged: it says of nothing what it is


def _named(name: str, names: Mapping[str, set[str]], option: str) -> set[str]:
    known = sorted(set().union(*names.values()))
    if name not in known:
        hint = nearest(name, known) if known else "the store is empty"
        raise UsageError(f"{option} {name}: no artifact in the store is of it; {hint}")
    return {key for key, own in names.items() if name in own}


def _models(manifests: Mapping[str, Manifest], runs: Path) -> dict[str, set[str]]:
    """Names of the model that an artifact was made for, by key: those that it and what it was made
    from were made under, and, since a later run may have called it otherwise, those in rows."""
    names = _rows(runs)
    for key, manifest in manifests.items():
        own = (manifest.facts.get("made_for"), _source_name(manifest))
        names.setdefault(key, set()).update(str(name) for name in own if name)
    return {key: _inherited(key, manifests, names) for key in manifests}


def _source_name(manifest: Manifest) -> Json:
    """The name that the source of a model has, whatever a recipe calls it; None for other data."""
    if manifest.stage != "download" or not any(f.path.endswith(_WEIGHTS) for f in manifest.files):
        return None
    return manifest.params.get("repo") or manifest.facts.get("name")


def _inherited(
    key: str, manifests: Mapping[str, Manifest], names: Mapping[str, set[str]]
) -> set[str]:
    """The names of an artifact and of what it was made from."""
    inherited = set(names.get(key, ()))
    manifest = manifests.get(key)
    inputs = {} if manifest is None else manifest.inputs
    for role in _FROM:
        if role in inputs:
            inherited |= _inherited(inputs[role]["key"], manifests, names)
    return inherited


def _rows(runs: Path) -> dict[str, set[str]]:
    """Names of models by the keys of rows, in every run that can be read."""
    names: dict[str, set[str]] = {}
    for record in run_states.states(str(runs)):
        try:
            summary = read_summary(find_run(record["path"], runs))
        except QpipeError:
            continue
        for row in summary.rows:
            if row.key and row.model:
                names.setdefault(row.key, set()).add(row.model)
    return names
