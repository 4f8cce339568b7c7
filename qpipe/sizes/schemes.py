"""What the methods that are schemes write (FP8, NVFP4, MXFP4, MXFP8, W4AFP8), and what they leave.

Seen in files that llm-compressor 0.14 and auto-round 0.15 wrote (tests/engines/test_table.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from qpipe.sizes import layouts
from qpipe.sizes.layouts import Parts
from qpipe.sizes.module_rules import ModuleWish
from qpipe.sizes.of_packed import Packing, dtype_of
from qpipe.sizes.settings import Settings
from qpipe.sizes.source import ModelSource

# The engine that learns; llm-compressor rounds.
_LEARNS = "auto-round"


def fp8(source: ModelSource, settings: Settings) -> Packing:
    """A scale for each row, block, or matrix and its inputs."""
    learned, dtype = settings.text("engine", "") == _LEARNS, dtype_of(source)
    scheme = _scheme(settings, *("block", "static") if learned else ("dynamic", "block", "static"))
    pack: Mapping[str, Callable[[int, int], Parts]] = {
        "dynamic": partial(layouts.bytes_by_row, kind="F8_E4M3", dtype=dtype),
        "block": partial(layouts.bytes_by_block, dtype=dtype),
        "static": partial(layouts.bytes_by_tensor, dtype=dtype),
    }
    if learned:
        pack = {
            "block": partial(layouts.bytes_by_block, dtype="F32"),
            "static": partial(layouts.bytes_by_row_and_inputs, dtype=dtype),
        }
    suffix = "" if scheme == "static" else f"-{scheme}"
    return _packing(f"FP8{suffix}", pack[scheme], settings)


def nvfp4(source: ModelSource, settings: Settings) -> Packing:
    """Two numbers a byte, with a scale in a byte for 16; one for all inputs where these are
    rounded."""
    inputs = _four_bits(settings) == "w4a4"
    label = "NVFP4" if inputs else "NVFP4A16"
    return _packing(label, partial(layouts.nvfp4, inputs=inputs), settings)


def mxfp4(source: ModelSource, settings: Settings) -> Packing:
    """Two numbers a byte, with a scale in a byte for 32."""
    label = "MXFP4" if _four_bits(settings) == "w4a4" else "MXFP4A16"
    return _packing(label, layouts.mxfp4, settings)


def mxfp8(source: ModelSource, settings: Settings) -> Packing:
    """A byte for each number, and one for the scale of 32."""
    label = "MXFP8A16" if _scheme(settings, "w8a8", "w8a16") == "w8a16" else "MXFP8"
    return _packing(label, layouts.mxfp8, settings)


def w4afp8(source: ModelSource, settings: Settings) -> Packing:
    """compressed-tensors' words of 32 bits."""
    _scheme(settings, "dynamic")
    pack = partial(layouts.packed_integers, bits=4, size=128, dtype=dtype_of(source), zeros=False)
    return _packing("W4AFP8-g128", pack, settings)


def _packing(label: str, pack: Callable[[int, int], Parts], settings: Settings) -> Packing:
    def layout(rows: int, columns: int, wish: ModuleWish) -> Parts:
        return pack(rows, columns)

    if settings.text("kv_cache", "none", choices=("none", "fp8", "fp8_head")) == "none":
        return Packing(label, layout)
    note = "the scales of the cache, some bytes a layer, are not counted"
    return Packing(f"{label}-KV-FP8", layout, notes=(note,))


def _four_bits(settings: Settings) -> str:
    """auto-round writes w4a4 alone."""
    learned = settings.text("engine", "") == _LEARNS
    return _scheme(settings, *("w4a4",) if learned else ("w4a16", "w4a4"))


def _scheme(settings: Settings, *choices: str) -> str:
    """The scheme asked for; the first is the default."""
    return settings.text("scheme", choices[0], choices=choices)


SCHEMES: Mapping[str, Callable[[ModelSource, Settings], Packing]] = {
    "fp8": fp8, "nvfp4": nvfp4, "mxfp4": mxfp4, "mxfp8": mxfp8, "w4afp8": w4afp8,
}  # fmt: skip
