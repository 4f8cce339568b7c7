"""How right estimates were: what runs foresaw of their nodes beside what these came to.

Of a stage and quantity of which no run has a record, it is worked out of what the store holds:
sizes are predicted from config.json again; seconds and memory from the other nodes of the kind, so
that no figure is a forecast of itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Literal

from qpipe.core.manifest import Manifest
from qpipe.core.store import ArtifactStore
from qpipe.errors import QpipeError, StoreError, UsageError
from qpipe.results import figures
from qpipe.session.known_shapes import section
from qpipe.sizes.predict import predict
from qpipe.support import strict_json

Quantity = Literal["size", "seconds", "memory"]

_CONFIG = "config.json"
_WEIGHTS = (".gguf", ".safetensors")
# The roles by which a node is made from a model, or measures it.
_FROM = ("model", "checkpoint")
_MOST_BYTES = 50_000_000  # of a run's record


@dataclass(frozen=True)
class ForecastError:
    """The error of ``count`` forecasts of a ``quantity`` of nodes of a ``stage``: the ``median`` of
    the relative errors, whichever way, and that which is farthest off (``worst``, signed, of the
    node ``name``). ``actual`` is the median of what it came to, in bytes or seconds. ``basis`` is
    ``runs``, by what they recorded, or ``store``, worked out of what it holds."""

    stage: str
    quantity: Quantity
    count: int
    median: float
    worst: float
    name: str
    actual: float
    basis: Literal["runs", "store"] = "store"


_QUANTITIES: Mapping[Quantity, str] = {
    "size": "size_bytes",
    "seconds": "seconds",
    "memory": "peak_rss",
}


def errors(store: Path, runs: Path | None = None) -> list[ForecastError]:
    """The errors by stage and quantity, of the runs in a folder, else of the store. Damaged
    artifacts and records are passed over. Raises StoreError."""
    recorded = {} if runs is None else _recorded(runs)
    known = {
        (stage, quantity): error
        for (stage, quantity), pairs in recorded.items()
        if (error := _summed(stage, quantity, pairs)) is not None
    }
    derived = {(each.stage, each.quantity): each for each in _derived(store)}
    answers = derived | {key: replace(each, basis="runs") for key, each in known.items()}
    order = [*_QUANTITIES]
    return sorted(answers.values(), key=lambda each: (each.stage, order.index(each.quantity)))


def _recorded(runs: Path) -> dict[tuple[str, Quantity], list[_Pair]]:
    """The forecasts of runs and what they came to, by stage and quantity."""
    answers: dict[tuple[str, Quantity], list[_Pair]] = {}
    for file in sorted(runs.glob("*/run.json")):
        for node in _nodes(file):
            forecast, actual = (figures.read(node.get(n)) for n in ("forecast", "actual"))
            name, stage = node.get("name"), node.get("stage")
            if not (forecast and actual and isinstance(name, str) and isinstance(stage, str)):
                continue
            for quantity, field in _QUANTITIES.items():
                pair = getattr(forecast, field), getattr(actual, field)
                if None not in pair:
                    answers.setdefault((stage, quantity), []).append((name, *pair))
    return answers


def _nodes(file: Path) -> list[Mapping[str, Any]]:
    """The nodes of a run's record; none of one that cannot be read."""
    try:
        document = strict_json.load(file, UsageError, most=_MOST_BYTES)
    except UsageError:
        return []
    nodes = document.get("nodes") if isinstance(document, dict) else None
    return [node for node in nodes if isinstance(node, dict)] if isinstance(nodes, list) else []


def _derived(store: Path) -> list[ForecastError]:
    """The errors of what the store holds; of a stage with one node alone, seconds and memory have
    no forecast."""
    artifacts = dict(_manifests(ArtifactStore(store)))
    stages: dict[str, list[str]] = {}
    for key, (manifest, _) in artifacts.items():
        stages.setdefault(manifest.stage, []).append(key)
    found = []
    for stage, keys in sorted(stages.items()):
        found += [
            _summed(stage, "size", list(_sizes(keys, artifacts))),
            _summed(stage, "seconds", list(_others(keys, artifacts, lambda m: m.usage.seconds))),
            _summed(stage, "memory", list(_others(keys, artifacts, lambda m: m.usage.peak_rss))),
        ]
    return [each for each in found if each is not None]


_Known = Mapping[str, tuple[Manifest, Path]]
_Pair = tuple[str, float, float]  # a node's name, forecast, actual


def _manifests(store: ArtifactStore) -> Iterator[tuple[str, tuple[Manifest, Path]]]:
    for key in store.all_keys():
        path = store.paths.artifact(key)
        try:
            yield key, (Manifest.load(path), path)
        except StoreError:
            continue  # damaged: `qpipe verify` reports it


def _summed(stage: str, quantity: Quantity, pairs: Sequence[_Pair]) -> ForecastError | None:
    off = [(forecast / actual - 1, name) for name, forecast, actual in pairs if actual]
    if not off:
        return None
    worst, name = max(off, key=lambda each: abs(each[0]))
    middle = median(abs(each) for each, _ in off)
    actual = median(actual for _, _, actual in pairs)
    return ForecastError(stage, quantity, len(off), middle, worst, name, actual)


def _sizes(keys: Sequence[str], artifacts: _Known) -> Iterator[_Pair]:
    """Bytes of files with weights, where config.json of the source is in the store."""
    for key in keys:
        manifest, _ = artifacts[key]
        fields = section(manifest.stage, manifest.params, manifest.inputs)
        source = _source(key, artifacts)
        actual = sum(f.size for f in manifest.files if f.path.endswith(_WEIGHTS))
        if fields is None or source is None or not actual:
            continue
        try:
            yield manifest.name, predict(source, fields).file_bytes, actual
        except QpipeError:
            continue  # what cannot be predicted is no wrong prediction


def _source(key: str, artifacts: _Known) -> Path | None:
    """The checkpoint in the store that a node leads back to."""
    seen: set[str] = set()
    while key in artifacts and key not in seen:
        seen.add(key)
        manifest, path = artifacts[key]
        before = next((manifest.inputs[r]["key"] for r in _FROM if r in manifest.inputs), None)
        if before is None:
            return path if (path / _CONFIG).is_file() else None
        key = str(before)
    return None


def _others(
    keys: Sequence[str], artifacts: _Known, value: Callable[[Manifest], float]
) -> Iterator[_Pair]:
    """Each node by the median of the others of its name, scaled by the bytes of the source."""
    named: dict[str, list[tuple[str, float, float]]] = {}
    for key in keys:
        manifest, _ = artifacts[key]
        source = _source(key, artifacts)
        size = 1.0 if source is None else float(_bytes(source)) or 1.0
        if value(manifest):
            name = manifest.name.partition("[")[0]
            named.setdefault(name, []).append((manifest.name, value(manifest), size))
    for nodes in named.values():
        for index, (name, actual, size) in enumerate(nodes):
            others = [v / s * size for i, (_, v, s) in enumerate(nodes) if i != index]
            if others:
                yield name, median(others), actual


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir() if file.suffix in _WEIGHTS)
