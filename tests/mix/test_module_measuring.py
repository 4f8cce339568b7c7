"""Losses of a checkpoint's modules, measured in a real model by transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qpipe.mix.measuring import Effort
from qpipe.mix.module_groups import PackedForm
from qpipe.mix.module_measuring import Candidates, measure
from qpipe.mix.module_swaps import ModuleSwaps, rounded
from qpipe.packed.matrices import quantizable
from qpipe.sources.pinning import DATA

MODEL = DATA / "stories260K"
DOWN = "model.layers.2.mlp.down_proj"


def tokens(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    return np.random.default_rng(0).integers(3, 500, (count, 48)).astype(np.int32)


def test_rounding_is_to_the_nearest_of_a_grid() -> None:
    torch = pytest.importorskip("torch")
    weights = torch.randn(8, 64, generator=torch.Generator().manual_seed(0))
    for form in (PackedForm(4, 32), PackedForm(3, -1), PackedForm(8, 16)):
        for sym in (True, False):
            values = rounded(weights, form, sym=sym)
            size = 64 if form.group_size == -1 else form.group_size
            groups = values.reshape(8, -1, size)
            assert max(len(g.unique()) for row in groups for g in row) <= 2**form.bits
            step = weights.reshape(8, -1, size).abs().amax() * 2 / (2**form.bits - 1)
            assert (values - weights).abs().max() <= 1.05 * step
    assert not rounded(torch.zeros(4, 32), PackedForm(4, 32), sym=False).any()


def test_a_swap_changes_the_model_and_is_undone(tmp_path: Path) -> None:
    with ModuleSwaps(MODEL, threads=1, folder=tmp_path) as swaps:
        swaps.start(tokens(4))
        order = range(4)
        own = swaps.weights[DOWN].clone()
        assert swaps.kld({}, order, sym=True).max() < 1e-4
        rough = swaps.kld({DOWN: PackedForm(2, -1)}, order, sym=True).mean()
        fine = swaps.kld({DOWN: PackedForm(8, -1)}, order, sym=True).mean()
        assert rough > 20 * max(fine, 1e-6)
        assert bool((swaps.weights[DOWN] == own).all())
        squares = swaps.importances([DOWN], tokens(4))[DOWN]
        assert squares.shape == (own.shape[1],)
        assert bool((squares > 0).any())
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_losses_fall_with_bits_and_the_whole_is_measured(tmp_path: Path) -> None:
    modules = quantizable(MODEL)
    made = measure(
        MODEL, modules, tokens(32), Candidates([2, 4, 8], [32, 64], True), Effort(32, 4, 2),
        threads=2, folder=tmp_path, text="a text",
    )  # fmt: skip
    assert len(made.tensors) == 20  # of five layers, four groups each
    qkv = made.tensors["model.layers.0.self_attn.qkv_proj"]
    assert list(qkv.types) == [
        *("2bit-g64", "2bit-g32", "4bit-g64", "4bit-g32", "8bit-g64", "8bit-g32")
    ]
    assert qkv.shape == (128, 64)
    assert sum(one.measured for one in qkv.types.values()) == 2
    assert qkv.types["2bit-g64"].kld > qkv.types["4bit-g64"].kld > qkv.types["8bit-g64"].kld >= 0
    # No group of 32 or 64 fills rows of 172.
    assert list(made.tensors[DOWN].types) == ["2bit-channel", "4bit-channel", "8bit-channel"]
    assert [rung.kld for rung in made.rungs] == sorted((r.kld for r in made.rungs), reverse=True)
    assert [r.bits_per_weight for r in made.rungs] == sorted(r.bits_per_weight for r in made.rungs)
