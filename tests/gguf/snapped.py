"""A trained model whose matrices are put on a lattice, as training for a type would have it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from qpipe.gguf import safetensors
from qpipe.gguf.rows import bf16_to_f32
from tests.gguf import samples

Floats = npt.NDArray[np.float32]


def bf16(values: Floats) -> npt.NDArray[np.uint16]:
    """BF16 bit patterns, rounded to nearest even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def through_bf16(values: Floats) -> Floats:
    """The values as a checkpoint in BF16 has them."""
    return bf16_to_f32(bf16(values))


def snap(weights: Floats, levels: int, *, group: int = 32) -> Floats:
    """Each group of a row on ``2 * levels + 1`` levels, the largest weight on the last or on one
    below it, by turns: no step is what ggml would take for it."""
    groups = weights.reshape(-1, group)
    largest = np.abs(groups).max(axis=1, keepdims=True)
    turns = (np.arange(len(groups)) % 3)[:, None]
    step = largest / np.maximum(levels - turns, 1)
    made: Floats = np.rint(groups / np.where(step, step, 1)) * step
    return made.reshape(weights.shape)


def checkpoint(to: Path, levels: int = 7, *, group: int = 32) -> Path:
    """The trained model in a folder of its own, in BF16."""
    folder = samples.copy_model("tinystories-d256", to)
    tensors = {}
    for name, (dtype, shape, data) in samples.load_tensors(folder).items():
        stored = np.frombuffer(data, np.uint16)
        if len(shape) > 1:
            exact = snap(bf16_to_f32(stored).reshape(shape), levels, group=group)
            stored = bf16(exact.reshape(-1))
        tensors[name] = (dtype, shape, stored.tobytes())
    samples.write_safetensors(folder / "model.safetensors", tensors)
    assert safetensors.read_header(folder / "model.safetensors")
    return folder
