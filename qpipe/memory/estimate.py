"""The one question of this room: what a model takes when it runs in a setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from qpipe.errors import CheckpointError
from qpipe.gguf import arch, convert, reader, values
from qpipe.memory import cache, compute, of_config, of_metadata, others, placement
from qpipe.memory.geometry import Geometry
from qpipe.memory.parts import LayerMemory, MemoryParts, RunMemory
from qpipe.memory.setting import RunSetting
from qpipe.memory.weights import Weights
from qpipe.memory.window_fields import layer_windows
from qpipe.sizes.source import ModelSource

_MOST = 64
# Graphs that are not written down in `qpipe.memory.graph`.
_ROUGH = dict.fromkeys(
    ("rwkv6qwen2", "arwkv7", "kimi-linear", "minimax-01"),
    "intermediate results are rough: llama.cpp's graph of this architecture has further tensors",
)
_kept: dict[str, Geometry] = {}


def memory(
    config: Mapping[str, Any] | Path | str, setting: RunSetting, *, weights: Weights
) -> RunMemory:
    """The memory of a model when it runs, by part and device.

    ``config`` has the fields of config.json, or is that file, a folder with it, or a GGUF file.
    Raises CheckpointError for a model whose geometry is not known, RecipeError for a setting that
    cannot be with it.
    """
    return of_geometry(geometry(config), setting, weights)


def geometry(config: Mapping[str, Any] | Path | str) -> Geometry:
    """The geometry of a model: of a GGUF file by its header, else by config.json. Raises
    CheckpointError for one that is not known."""
    if not isinstance(config, Mapping) and str(config).endswith(".gguf"):
        return _of_file(Path(config).expanduser())
    source = ModelSource.of(config)
    if source.identity not in _kept:
        if len(_kept) >= _MOST:
            _kept.clear()
        _kept[source.identity] = _of_source(source)
    return _kept[source.identity]


def of_geometry(model: Geometry, setting: RunSetting, weights: Weights) -> RunMemory:
    """The memory of a model of this geometry. Raises RecipeError."""
    notes = model.notes
    if setting.runtime != "llama.cpp":
        model = others.as_kept(model, setting.runtime)
        notes = (*notes, others.NOTE.format(setting.runtime))
    elif model.arch in _ROUGH:
        notes = (*notes, _ROUGH[model.arch])
    places = placement.devices(setting, len(model.layers))
    kept = {
        layer: (
            cache.cache_bytes(model, layer, setting),
            cache.state_bytes(layer, setting),
            layer.window,
            cache.cells(layer, setting),
        )
        for layer in model.kinds
    }
    layers = tuple(
        LayerMemory(index, layer.kind, place, *kept[layer])
        for index, (layer, place) in enumerate(zip(model.layers, places, strict=False))
    )
    return RunMemory(
        devices={
            device: _on(device, model, setting, weights, layers, places)
            for device in (placement.CPU, placement.GPU)
        },
        caches=layers,
        active_weights=weights.active,
        read_weights=weights.read(setting.sequences),
        reserved=_reserved(setting),
        notes=notes,
    )


def _on(
    device: str,
    model: Geometry,
    setting: RunSetting,
    weights: Weights,
    layers: Sequence[LayerMemory],
    places: Sequence[str],
) -> MemoryParts:
    here = [layer for layer in layers if layer.device == device]
    computes = device in places
    if not computes and (device != placement.CPU or setting.runtime != "llama.cpp"):
        return MemoryParts()
    on_cpu = setting.runtime == "llama.cpp"
    needed = compute.compute_bytes if computes else compute.host_bytes
    return MemoryParts(
        weights=placement.weight_bytes(device, weights, places, table_on_cpu=on_cpu),
        kv_cache=sum(layer.cache for layer in here),
        states=sum(layer.states for layer in here),
        compute=needed(model, setting),
        overhead=compute.output_bytes(model, setting) if device == placement.CPU else 0,
    )


def _reserved(setting: RunSetting) -> int:
    if setting.runtime != "vllm" or setting.gpu_memory is None:
        return 0
    return int(setting.gpu_memory * setting.gpu_share)


def _of_source(source: ModelSource) -> Geometry:
    text = source.config.text()
    if source.config.model_class not in arch.supported():
        return of_config.read(source.config)
    metadata = convert.foresee_metadata(source.config)
    model = of_metadata.read(metadata, text.integer("vocab_size"))
    return replace(model, windows=tuple(layer_windows(text, len(model.layers))))


def of_file(metadata: values.Metadata, shapes: Mapping[str, tuple[int, ...]]) -> Geometry:
    """The geometry of a GGUF file with tensors of these shapes (numpy order). Raises
    CheckpointError for one that is not known."""
    if "token_embd.weight" not in shapes:
        raise CheckpointError("it has no token_embd.weight, and is no language model")
    return of_metadata.read(metadata, shapes["token_embd.weight"][0])


def _of_file(path: Path) -> Geometry:
    file = reader.read(path, any_type=True)
    try:
        return of_file(file.metadata, {name: each.shape for name, each in file.entries.items()})
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
