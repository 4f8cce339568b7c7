"""Scales that are no numbers, or nothing but zeros: headers say nothing of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qpipe.engines.common import checkpoint_engine
from qpipe.errors import CheckpointError
from qpipe.packed import scales, structure
from tests.packed.checkpoints import around, checkpoint, scales_of
from tests.packed.test_structure import FORMATS

# By type of the array: the bits of what is no finite number, one and another.
SPOILS: dict[str, tuple[float | int, ...]] = {
    "float32": (np.nan, np.inf), "float16": (np.nan, -np.inf), "uint16": (0x7FC0, 0xFF80),
    "bool": (0x7F, 0xFF), "uint8": (0xFF,),
}  # fmt: skip


def written(folder: Path, parts: Any, config: Any) -> structure.Structure:
    return structure.read(checkpoint(folder, around(parts), quantization_config=config))


@pytest.mark.parametrize("label", sorted(FORMATS))
def test_one_that_is_no_number_is_named(tmp_path: Path, label: str) -> None:
    parts, config = FORMATS[label]()
    scales.check(written(tmp_path, parts, config))
    names = [name for name in scales_of(parts) if not _is_a_code(name, parts)]
    assert names
    for name in names:
        kind = parts[name].dtype.name
        for bad in SPOILS[kind]:
            spoiled = parts[name].copy()
            plain = spoiled.view(np.uint8) if kind == "bool" else spoiled
            plain.reshape(-1)[-1] = bad
            contents = written(tmp_path, {**parts, name: spoiled}, config)
            with pytest.raises(
                CheckpointError, match=rf"{name}.* holds 1 scale that is not finite"
            ):
                scales.check(contents)


def _is_a_code(name: str, parts: Any) -> bool:
    """True of the scales that bitsandbytes quantized once more."""
    return name == "weight.absmax" and parts[name].dtype == np.uint8


@pytest.mark.parametrize("label", sorted(FORMATS))
def test_a_matrix_without_one_that_is_not_0_is_named(tmp_path: Path, label: str) -> None:
    parts, config = FORMATS[label]()
    for name in scales_of(parts):
        if parts[name].dtype == np.uint8:
            continue  # an exponent, or a code
        nothing = np.zeros_like(parts[name])
        contents = written(tmp_path, {**parts, name: nothing}, config)
        with pytest.raises(CheckpointError, match=rf"{name}.* all of its scales are 0"):
            scales.check(contents)
        if nothing.size > 1:  # a group of zeros is no damage
            nothing.reshape(-1)[-1] = np.ones_like(parts[name]).reshape(-1)[0]
            scales.check(written(tmp_path, {**parts, name: nothing}, config))


@pytest.mark.parametrize("label", ["FP8-block", "FP8-dynamic", "NVFP4A16"])
def test_a_negative_one_of_floats_is_named(tmp_path: Path, label: str) -> None:
    parts, config = FORMATS[label]()
    for name in scales_of(parts):
        turned = parts[name].copy()
        if turned.dtype.kind == "f":
            turned.reshape(-1)[-1] *= -1
        else:  # BF16 and FP8 by their bits: the sign is the highest
            bits = turned.view(np.uint16 if turned.itemsize == 2 else np.uint8)
            bits.reshape(-1)[-1] |= 1 << (8 * bits.itemsize - 1)
        contents = written(tmp_path, {**parts, name: turned}, config)
        with pytest.raises(CheckpointError, match=rf"{name}.* holds a negative scale"):
            scales.check(contents)


def test_they_are_looked_at_before_anything_is_measured(tmp_path: Path) -> None:
    parts, config = FORMATS["FP8-block"]()
    (name,) = scales_of(parts)
    parts = {**parts, name: np.full_like(parts[name], 0x7FC0)}
    folder = checkpoint(tmp_path, around(parts), quantization_config=config)
    with pytest.raises(CheckpointError, match="scales that are not finite"):
        checkpoint_engine.facts(folder)
