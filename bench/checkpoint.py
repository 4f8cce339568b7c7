"""Random checkpoints for measuring: written tensor by tensor, so that size is no matter of memory.

Their tokenizer is tinystories-d256's; both sides pad it to the model's vocabulary.
"""

from __future__ import annotations

import json
import math
import shutil
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from qpipe.gguf.quantizers import floats
from qpipe.sources.pinning import DATA

TOKENIZER = DATA / "tinystories-d256" / "tokenizer.model"
FP8_BLOCK = 128
_CHUNK = 1 << 22
_STD = np.float32(0.02)
_F8_E4M3_MAX = 448.0  # OCP 8-bit floating point specification 1.0, table 1

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Checkpoint:
    """config.json, and the shapes of all tensors by name; ``fp8`` stores those of matrices in
    layers as F8_E4M3 with a scale for each block, as DeepSeek's and Qwen's FP8 repositories do."""

    config: Mapping[str, object]
    shapes: Mapping[str, Shape]
    fp8: bool = False

    def write(self, folder: Path) -> np.random.Generator:
        """Write it; returns the generator of its weights, which do not depend on ``fp8``."""
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(self.config))
        shutil.copy(TOKENIZER, folder)
        rng = np.random.default_rng(0)
        with (folder / "model.safetensors").open("wb") as file:
            file.write(_header(dict(self._stored())))
            for name, shape in self.shapes.items():
                if self._is_fp8(name):
                    file.writelines(_fp8(rng, shape))
                else:
                    file.writelines(_weights(rng, math.prod(shape)))
        return rng

    def _stored(self) -> Iterator[tuple[str, tuple[str, Shape]]]:
        """(name, (dtype, shape)) in the file's order."""
        for name, shape in self.shapes.items():
            if self._is_fp8(name):
                yield name, ("F8_E4M3", shape)
                blocks = tuple(-(-size // FP8_BLOCK) for size in shape)
                yield f"{name}_scale_inv", ("BF16", blocks)
            else:
                yield name, ("BF16", shape)

    def _is_fp8(self, name: str) -> bool:
        return self.fp8 and len(self.shapes[name]) == 2 and ".layers." in name


def _header(stored: Mapping[str, tuple[str, Shape]]) -> bytes:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, (dtype, shape) in stored.items():
        end = at + {"BF16": 2, "F8_E4M3": 1}[dtype] * math.prod(shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": (at, end)}
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _normal(rng: np.random.Generator, count: int) -> Iterator[npt.NDArray[np.float32]]:
    for start in range(0, count, _CHUNK):
        yield rng.standard_normal(min(_CHUNK, count - start), np.float32)


def _weights(rng: np.random.Generator, count: int) -> Iterator[bytes]:
    for normal in _normal(rng, count):
        yield floats.bf16(normal * _STD).tobytes()


def _fp8(rng: np.random.Generator, shape: Shape) -> Iterator[bytes]:
    """The codes of a matrix whose largest weights are about six deviations, then its scales."""
    for normal in _normal(rng, math.prod(shape)):
        yield _e4m3(np.clip(normal * np.float32(_F8_E4M3_MAX / 6), -_F8_E4M3_MAX, _F8_E4M3_MAX))
    blocks = math.prod(-(-size // FP8_BLOCK) for size in shape)
    yield floats.bf16(np.full(blocks, _STD * 6 / _F8_E4M3_MAX, np.float32)).tobytes()


def _e4m3(values: npt.NDArray[np.float32]) -> bytes:
    """The nearest code of each; one between two is rounded up."""
    codes = np.arange(0x7F)  # positive, NaN (0x7f) left out
    exponent, mantissa = codes >> 3, codes & 7
    table = np.where(exponent > 0, (8 + mantissa) * 2.0 ** (exponent - 10), mantissa * 2.0**-9)
    middles = ((table[1:] + table[:-1]) / 2).astype(np.float32)
    nearest = np.searchsorted(middles, np.abs(values), side="right").astype(np.uint8)
    return (nearest | (np.signbit(values).view(np.uint8) << 7)).tobytes()
