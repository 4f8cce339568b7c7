"""Numbers of packed matrices are the source's, or it is said which are not.

What engines really make lies far from the bounds: the error of GPTQ was up to 1.94 times that of
rounding (GPTQModel 7.6.0, llm-compressor 0.14.0.1 with 8 tokens and a damping of 0.001), of AWQ up
to 1.06, of AutoRound up to 0.99, of bitsandbytes' fp4 1.19, of MXFP4 and MXFP8 1.17, of all others
1.09.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qpipe.errors import CheckpointError
from qpipe.packed import fidelity, structure
from qpipe.packed.fidelity import Likeness
from qpipe.packed.values.layouts import strips
from tests.packed import packing
from tests.packed.checkpoints import around, checkpoint, plain
from tests.packed.packing import Array, Packing

NAME = "model.layers.0.mlp.up_proj"
W: Array = plain()[f"{NAME}.weight"].astype(np.float32)
Pack = Callable[..., Packing]

# Each with the bits and groups that its tool writes.
LAYOUTS: list[tuple[Pack, int, int]] = [
    *((packing.gptq, bits, size) for bits in (2, 3, 4, 8) for size in (32, 128)),
    (packing.awq, 4, 32), (packing.awq, 8, 64), (packing.gemv, 4, 32), (packing.gemv, 4, 64),
    *((packing.compressed, bits, 32) for bits in (2, 3, 4, 5, 6, 7, 8)),
    (packing.int8, 8, 128), (packing.torchao, 8, 128),
    (packing.fp8, 8, 128), (packing.fp8_block, 8, 64), (packing.mxfp8, 8, 32),
    (packing.mxfp4, 4, 32), (packing.nvfp4, 4, 16),
]  # fmt: skip
each = pytest.mark.parametrize(
    ("pack", "bits", "size"), LAYOUTS, ids=lambda given: getattr(given, "__name__", str(given))
)


def likeness(folder: Path, packed: Packing, *, scaled: bool = False, **changed: Any) -> Likeness:
    parts, config = packed
    made = checkpoint(folder / "made", around(parts), quantization_config=config)
    source = checkpoint(folder / "source", {**plain(), **changed})
    ((name, found),) = fidelity.likenesses(structure.read(made), source, scaled=scaled)
    assert name == NAME
    return found


@each
def test_what_is_right_differs_by_no_more_than_rounding(
    tmp_path: Path, pack: Pack, bits: int, size: int
) -> None:
    found = likeness(tmp_path, pack(W, bits, size))
    assert found.is_alike and (found.flipped, found.zeroed) == (0, 0)
    # Powers of two leave up to half of the range empty.
    more = 1.25 if pack in (packing.mxfp8, packing.mxfp4) else 1.1
    assert 0.5 * found.rounding < found.error < more * found.rounding
    assert found.looked_at == W.size


def crossed(codes: Array) -> Array:
    """Two neighbours changed places, everywhere."""
    return codes.reshape(len(codes), -1, 2)[:, :, ::-1].reshape(codes.shape)


@each
def test_another_order_is_refused(tmp_path: Path, pack: Pack, bits: int, size: int) -> None:
    assert not likeness(tmp_path, pack(W, bits, size, crossed)).is_alike


@pytest.mark.parametrize("pack", [packing.gptq, packing.awq, packing.compressed, packing.int8])
def test_one_weight_at_the_wrong_end_is_refused(tmp_path: Path, pack: Pack) -> None:
    """The largest of a group is one more than 8 bits hold, and becomes the smallest."""

    def wrapped(codes: Array) -> Array:
        changed = codes.copy()
        changed[np.unravel_index(codes.argmax(), codes.shape)] = 0
        return changed

    found = likeness(tmp_path, pack(W, 8, 128, wrapped))
    assert found.flipped == 1 and not found.is_alike


@pytest.mark.parametrize("factor", [0.7, 1.5])
def test_scales_that_are_off_are_refused(tmp_path: Path, factor: float) -> None:
    parts, config = packing.gptq(W, 8, 32)
    parts["scales"] = (parts["scales"] * factor).astype(np.float16)
    assert not likeness(tmp_path, (parts, config)).is_alike


@pytest.mark.parametrize("pack", [packing.fp8, packing.fp8_block], ids=["row", "block"])
@pytest.mark.parametrize("factor", [0.7, 1.5])
def test_scales_of_floats_that_are_off_are_refused(
    tmp_path: Path, factor: float, pack: Pack
) -> None:
    parts, config = pack(W, 8, 128)
    parts["weight_scale"] = (parts["weight_scale"] * factor).astype(np.float32)
    assert not likeness(tmp_path, (parts, config)).is_alike


def test_one_weight_that_outweighs_all_is_as_exact_as_its_scale(tmp_path: Path) -> None:
    weights = W.copy()
    weights[3, 5] = 12345.0
    parts, config = packing.fp8(weights, 8, 128)
    as_bfloat16 = parts["weight_scale"].astype(np.float32).view(np.uint32) & 0xFFFF0000
    parts["weight_scale"] = as_bfloat16.view(np.float32)
    source: dict[str, Any] = {f"{NAME}.weight": weights.astype(np.float32)}
    found = likeness(tmp_path, (parts, config), **source)
    assert 4 * found.rounding < found.error and found.is_alike


@pytest.mark.parametrize("pack", [packing.fp8, packing.nvfp4], ids=["fp8", "nvfp4"])
def test_a_float_of_the_other_sign_is_refused(tmp_path: Path, pack: Pack) -> None:
    bits = 8 if pack is packing.fp8 else 4

    def turned(codes: Array) -> Array:
        changed = codes.copy()
        changed[np.unravel_index((codes % 2 ** (bits - 1)).argmax(), codes.shape)] ^= 1 << (
            bits - 1
        )
        return changed

    found = likeness(tmp_path, pack(W, bits, 128, turned))
    assert found.flipped == 1 and not found.is_alike


def test_columns_may_be_in_the_order_of_their_activations(tmp_path: Path) -> None:
    order = np.random.default_rng(1).permutation(W.shape[1])
    found = likeness(tmp_path, packing.gptq(W, 4, 32, order=order))
    assert found.is_alike and found.error < 1.1 * found.rounding


def test_scales_of_channels_are_awqs_alone(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    scaled = W * random.uniform(0.5, 2, (1, 128)) / random.uniform(0.5, 2, (64, 1))
    packed = packing.awq(scaled.astype(np.float32), 4, 32)
    assert not likeness(tmp_path, packed).is_alike
    assert likeness(tmp_path, packed, scaled=True).error < 0.15
    crossed_too = packing.awq(scaled.astype(np.float32), 4, 32, crossed)
    assert not likeness(tmp_path, crossed_too, scaled=True).is_alike


def test_a_weight_that_stretches_the_range_of_its_group(tmp_path: Path) -> None:
    """Most others of its row come out as 0, which says nothing about the scale of the row."""
    w = W.astype(np.float16).astype(np.float32)
    w[5] *= 0.01
    w[5, ::32] = 2.0
    scaled = w * np.random.default_rng(3).uniform(0.5, 2, (1, 128)).astype(np.float32)
    packed = packing.awq(scaled.astype(np.float32), 4, 32)
    found = likeness(tmp_path, packed, scaled=True, **{f"{NAME}.weight": w.astype(np.float16)})
    assert found.is_alike and found.flipped == 0
    assert found.error < 0.15


def test_the_message_says_which_matrix_and_how_far(tmp_path: Path) -> None:
    parts, config = packing.compressed(W, 4, 32, crossed)
    made = checkpoint(tmp_path / "made", around(parts), quantization_config=config)
    source = checkpoint(tmp_path / "source", plain())
    with pytest.raises(CheckpointError, match=rf"{NAME} as INT4-g32: its weights differ .*1[34]\d"):
        fidelity.check(structure.read(made), source, scaled=False)


def test_columns_without_a_token_are_noted(tmp_path: Path) -> None:
    """GPTQ sets the columns of features that never were anything but 0 to 0."""

    def dead(codes: Array) -> Array:
        changed = codes.copy()
        made = packing.grid(W, 4, 32)
        changed[:, :32] = made.zeros[:, :1]
        return changed

    parts, config = packing.compressed(W, 4, 32, dead)
    made = checkpoint(tmp_path / "made", around(parts), quantization_config=config)
    source = checkpoint(tmp_path / "source", plain())
    (note,) = fidelity.check(structure.read(made), source, scaled=False)
    assert f"no calibration token reached them, such as {NAME} (25% of its columns)" in note


def test_one_row_has_columns_of_0_by_chance(tmp_path: Path) -> None:
    """Such as a gate for a shared expert, by GPTQ: a weight of nearly half a step became 0."""
    w = W[:1].copy()
    parts, config = packing.compressed(w, 4, 32, lambda codes: codes)
    made = checkpoint(tmp_path / "made", around(parts), quantization_config=config)
    moved = np.where(np.abs(w) < 0.2, 0.2, w).astype(np.float16)
    source = checkpoint(tmp_path / "source", {**plain(), f"{NAME}.weight": moved})
    assert fidelity.check(structure.read(made), source, scaled=False) == []


def test_large_matrices_are_looked_at_here_and_there() -> None:
    assert list(strips(64, 128, most=1 << 18)) == [(0, 64)]
    found = list(strips(4097, 4096, most=1 << 18))
    assert found == [(0, 32), (2048, 2080), (4096, 4097)]
    assert all(first % 32 == 0 for first, _ in found)
    assert sum(stop - first for first, stop in strips(11008, 512, most=1 << 18)) <= 512 + 32
