"""What is kept of tokens and of sequences, in bytes.

Source: llama.cpp 0.6.0-dev, src/llama-kv-cache.cpp and llama-kv-cache-iswa.cpp (constructors),
src/llama-memory-recurrent.cpp.
"""

from __future__ import annotations

from qpipe.errors import RecipeError
from qpipe.gguf.types import GGMLType
from qpipe.memory import others
from qpipe.memory.geometry import Geometry, LayerGeometry
from qpipe.memory.setting import RunSetting, padded

_STATE = GGMLType.F32  # create_memory: recurrent_type_r, recurrent_type_s


def cells(layer: LayerGeometry, setting: RunSetting) -> int:
    """Tokens that a stream of a layer's cache has room for."""
    if setting.runtime != "llama.cpp":
        return others.cells(layer, setting)
    if not layer.keys:
        return 0
    if not layer.window or setting.swa_full:
        return setting.cells
    sequences = setting.sequences if setting.unified else 1
    least = min(setting.cells, layer.window * sequences + setting.n_ubatch)
    return padded(least, 256)


def cache_bytes(geometry: Geometry, layer: LayerGeometry, setting: RunSetting) -> int:
    """Bytes of a layer's keys and values. Raises RecipeError for a type in whose blocks a row does
    not fit."""
    if not layer.keys:
        return 0
    values = layer.values
    if values and not setting.flash and setting.runtime == "llama.cpp":
        values = geometry.widest_values  # transposed, all layers' alike ([TAG_V_CACHE_VARIABLE])
    row = _row(setting.type_k, layer.keys) + _row(setting.type_v, values)
    row += _row(setting.type_k, layer.indexer)
    return row * cells(layer, setting) * setting.streams


def state_bytes(layer: LayerGeometry, setting: RunSetting) -> int:
    """Bytes of a layer's states, of all sequences."""
    if setting.runtime != "llama.cpp":
        return others.state_bytes(layer, setting)
    numbers = layer.rolling + layer.recurrent
    return _STATE.row_bytes(numbers) * max(1, setting.sequences)


def _row(kind: GGMLType, numbers: int) -> int:
    if not kind.fits(numbers):
        raise RecipeError(
            f"a layer keeps {numbers} numbers of a token, which do not fit into the blocks of "
            f"{kind.block} of {kind.name.lower()}: take f16 for the cache"
        )
    return kind.row_bytes(numbers)
