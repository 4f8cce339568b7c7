"""The compiled types against ggml's own C code: every byte of many superblocks of all kinds."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qpipe.gguf import ggml
from qpipe.gguf.quantizers import kquants, legacy, quantizer
from qpipe.gguf.types import GGMLType

Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.floating[Any]]
Make = Callable[[np.random.Generator, Numbers], Numbers]

KQUANTS = tuple(kquants.QUANTIZERS)
COMPILED = (*KQUANTS, *legacy.QUANTIZERS)
ROWS, N = 50, 1024
BLOCKS = ROWS * N // 256


def per_block(rng: np.random.Generator, low: int, high: int, size: int) -> Numbers:
    """A power of ten for every run of ``size`` weights."""
    return (10.0 ** rng.integers(low, high, (ROWS, N // size))).repeat(size, axis=1)


def chosen(rng: np.random.Generator, share: float, size: int = 1) -> npt.NDArray[np.bool_]:
    return (rng.random((ROWS, N // size)) < share).repeat(size, axis=1)


def any_bits(rng: np.random.Generator, normal: Numbers) -> Numbers:
    bits = rng.integers(0, 2**32, normal.shape, np.uint64).astype(np.uint32).view(np.float32)
    return np.where(np.isfinite(bits), bits, 0).astype(np.float64)


# Each gets a generator and standard normal weights [ROWS, N].
WEIGHTS: dict[str, Make] = {
    "normal": lambda rng, x: x * 0.02,
    "student 1.1": lambda rng, x: rng.standard_t(1.1, x.shape) * 0.02,
    "student 3": lambda rng, x: rng.standard_t(3, x.shape),
    "positive": lambda rng, x: abs(x) + 0.5,
    "negative": lambda rng, x: -abs(x) - 0.5,
    "nearly equal": lambda rng, x: -1 - abs(x) * 1e-6,
    "zero": lambda rng, x: x * 0,
    "negative zero": lambda rng, x: np.where(chosen(rng, 0.5), -0.0, x),
    "zero sub-blocks": lambda rng, x: np.where(chosen(rng, 0.5, 16), 0, x),
    "zero superblocks": lambda rng, x: np.where(chosen(rng, 0.5, 256), 0, x),
    "constant": lambda rng, x: np.broadcast_to(x[:, :1], x.shape),
    "constant sub-blocks": lambda rng, x: x[:, ::16].repeat(16, axis=1),
    "outliers": lambda rng, x: np.where(chosen(rng, 1 / 64), x * 100, x * 1e-3),
    "one of 256": lambda rng, x: np.where(chosen(rng, 1 / 256), x, 0),
    "sparse": lambda rng, x: np.where(chosen(rng, 1 / 16), x, 0),
    "few values": lambda rng, x: rng.integers(-3, 4, x.shape) * 0.25,
    "ties": lambda rng, x: rng.integers(-254, 255, x.shape) / 2 * per_block(rng, -2, 2, 256),
    "signs": lambda rng, x: np.sign(x) * rng.random((ROWS, 1)),
    "ramp": lambda rng, x: np.sort(x, axis=1),
    "unequal sub-blocks": lambda rng, x: x * per_block(rng, -6, 1, 16),
    "vanishing sub-blocks": lambda rng, x: x * per_block(rng, -45, 4, 16),
    "denormal": lambda rng, x: x * 1e-39,
    "near the threshold": lambda rng, x: x * 4e-15 * rng.random((ROWS, 1)),
    "large": lambda rng, x: x * 1e4,
    "bfloat16": lambda rng, x: (x.astype(np.float32).view(np.uint32) & 0xFFFF0000).view(np.float32),
    "any bits": any_bits,
    "huge": lambda rng, x: x * per_block(rng, -10, 37, 16),
}  # fmt: skip

IMPORTANCES: tuple[Callable[[np.random.Generator], Numbers], ...] = (
    lambda rng: rng.random(N) * 3,
    lambda rng: np.ones(N),
    lambda rng: rng.standard_normal(N) ** 2 * 10.0 ** rng.integers(-8, 8),
    lambda rng: np.where(rng.random(N) < 0.3, 0, rng.random(N)),
    lambda rng: np.zeros(N),
    lambda rng: 10.0 ** rng.integers(-45, 30, N),
)


def as_ggml(kind: GGMLType, rows: Floats, imatrix: Floats | None) -> bytes | None:
    """What the C writes; None where llama-quantize refuses to go on."""
    written = ggml.quantize(rows, kind, imatrix=imatrix)
    return written.tobytes() if ggml.valid(written, kind) else None


def as_qpipe(kind: GGMLType, rows: Floats, imatrix: Floats | None) -> bytes | None:
    try:
        return quantizer(kind)(rows, imatrix=imatrix).tobytes()
    except OverflowError:
        return None


def assert_equal(kind: GGMLType, rows: Floats, imatrix: Floats | None, what: object) -> int:
    """Compare; the superblocks that ggml accepts."""
    expected, found = as_ggml(kind, rows, imatrix), as_qpipe(kind, rows, imatrix)
    if expected is None or found is None:
        assert expected is found, what
        return 0
    size = kind.value[2]
    different = [
        i for i in range(0, len(found), size) if found[i : i + size] != expected[i : i + size]
    ]
    assert not different, (what, f"{len(different)} superblocks, first {different[0] // size}")
    return len(found) // size


def compare(kind: GGMLType, superblocks: int) -> None:
    """Compare at least ``superblocks``: all kinds in turn, with and without importances."""
    seed, compared = 0, 0
    while compared < superblocks:
        for index, (name, make) in enumerate(WEIGHTS.items()):
            rng = np.random.default_rng([seed, index])
            with np.errstate(all="ignore"):
                made = np.asarray(make(rng, rng.standard_normal((ROWS, N))), np.float32)
            # Scales of anything much larger overflow, and ggml refuses the whole batch.
            rows = np.where(abs(made) < 1e5, made, np.float32(1))
            weigh = IMPORTANCES[(seed + index) % len(IMPORTANCES)]
            importance = weigh(rng).astype(np.float32)
            for imatrix in (None, importance):
                what = (kind.name, name, seed, imatrix is not None)
                compared += assert_equal(kind, rows, imatrix, what)
        seed += 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", COMPILED, ids=lambda kind: kind.name)
def test_bit_identical_to_ggml(kind: GGMLType) -> None:
    """Weights of each kind twice, without importances and with those of two kinds."""
    compare(kind, 20_000)


@pytest.mark.soak
@pytest.mark.parametrize("kind", COMPILED, ids=lambda kind: kind.name)
def test_bit_identical_to_ggml_for_long(kind: GGMLType) -> None:
    compare(kind, 1_000_000)


@pytest.mark.parametrize("kind", KQUANTS, ids=lambda kind: kind.name)
@settings(max_examples=100, deadline=None)
@given(data=st.data(), weighted=st.booleans())
def test_odd_superblocks(kind: GGMLType, data: st.DataObject, weighted: bool) -> None:
    floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
    mild = st.floats(-4, 4, width=32)
    rows = data.draw(hnp.arrays(np.float32, (1, 256), elements=floats | mild, fill=mild))
    positive = st.floats(0, 2**40, width=32)
    imatrix = data.draw(hnp.arrays(np.float32, (256,), elements=positive)) if weighted else None
    assert_equal(kind, rows, imatrix, rows)


@pytest.mark.parametrize("kind", KQUANTS, ids=lambda kind: kind.name)
def test_huge_weights_are_refused_as_ggml_refuses_them(kind: GGMLType) -> None:
    rows = np.ones((3, 512), np.float32)
    rows[1, 300] = 3e38  # sums overflow: ggml may or may not find a scale
    assert_equal(kind, rows, None, "3e38")
    rows[1, 300] = 1e9
    assert as_ggml(kind, rows, None) is None
    with pytest.raises(OverflowError, match=rf"are too large for the scales of {kind.name}"):
        quantizer(kind)(rows)


@pytest.mark.parametrize("kind", KQUANTS, ids=lambda kind: kind.name)
def test_rows_of_any_number_and_length(kind: GGMLType) -> None:
    """Superblocks are taken in groups of eight or four; what is left over counts too."""
    rng = np.random.default_rng(0)
    for n_rows, blocks in [(1, 1), (1, 3), (3, 3), (5, 7), (2, 9)]:
        rows = rng.standard_normal((n_rows, blocks * 256)).astype(np.float32)
        importance = rng.random(blocks * 256).astype(np.float32)
        for imatrix in (None, importance):
            assert assert_equal(kind, rows, imatrix, (n_rows, blocks)) == n_rows * blocks
    assert quantizer(kind)(np.empty((0, 256), np.float32)).shape == (0, kind.row_bytes(256))


@pytest.mark.parametrize("kind", KQUANTS, ids=lambda kind: kind.name)
def test_views_and_read_only_rows(kind: GGMLType) -> None:
    rows = np.random.default_rng(1).standard_normal((4, 512)).astype(np.float32)
    expected = quantizer(kind)(rows).tobytes()
    fixed = rows.copy()
    fixed.flags.writeable = False
    assert quantizer(kind)(fixed).tobytes() == expected
    assert quantizer(kind)(np.asfortranarray(rows)).tobytes() == expected
    assert quantizer(kind)(rows.repeat(2, axis=0)[::2]).tobytes() == expected


def test_threads_do_not_disturb_each_other() -> None:
    rng = np.random.default_rng(2)
    parts = [rng.standard_normal((64, 512)).astype(np.float32) for _ in range(16)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(quantizer(GGMLType.Q4_K), parts))
    for part, written in zip(parts, found, strict=True):
        assert written.tobytes() == as_ggml(GGMLType.Q4_K, part, None)


def test_numba_is_imported_only_when_it_compiles() -> None:
    code = (
        "import sys, numpy as np; from qpipe.gguf.quantizers import quantizer;"
        "from qpipe.gguf.types import GGMLType;"
        "rows = np.ones((1, 256), np.float32);"
        "quantizer(GGMLType.F16)(rows); quantizer(GGMLType.Q4_K);"
        "print('numba' in sys.modules); quantizer(GGMLType.Q4_K)(rows);"
        "print('numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
