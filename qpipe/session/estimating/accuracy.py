"""How right estimates were: of what a store holds, the forecast beside what it came to.

Sizes are predicted from config.json again; seconds and memory from the other nodes of the kind, as
`qpipe plan` does for one that is not made yet, so that no figure is a forecast of itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

from qpipe.core.manifest import Manifest
from qpipe.core.store import ArtifactStore
from qpipe.errors import QpipeError, StoreError
from qpipe.sizes.known_fields import FIELDS
from qpipe.sizes.predict import predict

Quantity = Literal["size", "seconds", "memory"]

_CONFIG = "config.json"
_WEIGHTS = (".gguf", ".safetensors")
# The roles by which a node is made from a model, or measures it.
_FROM = ("model", "checkpoint")


@dataclass(frozen=True)
class ForecastError:
    """The error of ``count`` forecasts of a ``quantity`` of nodes of a ``stage``: the ``median`` of
    the relative errors, whichever way, and that which is farthest off (``worst``, signed, of the
    node ``name``). ``actual`` is the median of what it came to, in bytes or seconds."""

    stage: str
    quantity: Quantity
    count: int
    median: float
    worst: float
    name: str
    actual: float


def errors(store: Path) -> list[ForecastError]:
    """The errors by stage and quantity; of a stage with one node alone, seconds and memory have no
    forecast. Damaged artifacts are passed over. Raises StoreError."""
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
        section, source = _section(manifest), _source(key, artifacts)
        actual = sum(f.size for f in manifest.files if f.path.endswith(_WEIGHTS))
        if section is None or source is None or not actual:
            continue
        try:
            yield manifest.name, predict(source, section).file_bytes, actual
        except QpipeError:
            continue  # what cannot be predicted is no wrong prediction


def _section(manifest: Manifest) -> Mapping[str, Any] | None:
    """The fields of ``quantize`` that a node was made by; None of one that makes no model."""
    params = manifest.params
    if manifest.stage == "convert" and params.get("to") == "gguf":
        return {"method": "none", "via": params.get("outtype", "f16")}
    method = params.get("method")
    if manifest.stage != "quantize" or method not in FIELDS:
        return None
    fields = {name: params[name] for name in FIELDS[str(method)] if name in params}
    has_imatrix = "imatrix" in manifest.inputs
    return {**fields, "imatrix": True} if has_imatrix else fields


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
