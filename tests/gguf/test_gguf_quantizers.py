"""Every quantizer against ggml's own C code, weights of all kinds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qpipe.gguf import ggml
from qpipe.gguf.quantizers import quantizer
from qpipe.gguf.types import GGMLType

NATIVE = [GGMLType[name] for name in ("F16", "BF16", "Q8_0", "Q5_0", "Q5_1", "Q4_0", "Q4_1")]
ROWS, N = 64, 256


def weights(kind: str, seed: int) -> npt.NDArray[np.float32]:
    """[64, 256] of one kind; blocks differ within it."""
    rng = np.random.default_rng(seed)
    normal = rng.standard_normal((ROWS, N))
    found = {
        "normal": normal * 0.02,
        "heavy": rng.standard_t(1.5, (ROWS, N)) * 0.02,
        "zero blocks": normal
        * (rng.random((ROWS, N // 32, 1)) < 0.5).repeat(32, 1).reshape(ROWS, N),
        "constant": np.broadcast_to(rng.standard_normal((ROWS, 1)), (ROWS, N)),
        "outlier": np.where(rng.random((ROWS, N)) < 1 / 32, normal * 100, normal * 1e-3),
        "few values": rng.integers(-3, 4, (ROWS, N)) * 0.25,
        "ties": (rng.integers(-254, 255, (ROWS, N)) / 2) * 2.0 ** rng.integers(-8, 4, (ROWS, 1)),
        "large": normal * 1e3,
        "small": normal * 1e-4,
        "negative zero": np.where(rng.random((ROWS, N)) < 0.5, -0.0, normal),
        "signed": np.where(rng.random((ROWS, N)) < 0.5, -0.0, np.abs(normal)),
        "denormal": normal * 1e-39,
        "all scales": normal * 10.0 ** rng.integers(-38, 4, (ROWS, 1)),
    }[kind]
    return np.ascontiguousarray(found, np.float32)


KINDS = [
    "normal", "heavy", "zero blocks", "constant", "outlier",
    "few values", "ties", "large", "small", "negative zero", "signed", "denormal", "all scales",
]  # fmt: skip


@pytest.mark.parametrize("kind", NATIVE, ids=lambda kind: kind.name)
@settings(max_examples=60, deadline=None)
@given(sample=st.sampled_from(KINDS), seed=st.integers(0, 2**32))
def test_bit_identical_to_ggml(kind: GGMLType, sample: str, seed: int) -> None:
    rows = weights(sample, seed)
    if kind is GGMLType.F16:
        rows = rows.clip(-65504, 65504)
    assert quantizer(kind)(rows).tobytes() == ggml.quantize(rows, kind).tobytes()


@pytest.mark.parametrize("kind", NATIVE, ids=lambda kind: kind.name)
def test_rows_do_not_depend_on_each_other(kind: GGMLType) -> None:
    rows = weights("heavy", 7).clip(-65504, 65504)
    whole = quantizer(kind)(rows)
    parts = np.concatenate([quantizer(kind)(rows[:5]), quantizer(kind)(rows[5:])])
    assert whole.shape == (ROWS, kind.row_bytes(N))
    assert parts.tobytes() == whole.tobytes()


@pytest.mark.parametrize("kind", [GGMLType.F16, GGMLType.BF16], ids=lambda kind: kind.name)
@given(bits=st.lists(st.integers(0, 2**32 - 1), min_size=8, max_size=8))
@settings(max_examples=300, deadline=None)
def test_any_float_rounds_as_ggml_does(kind: GGMLType, bits: list[int]) -> None:
    rows = np.array([bits], np.uint32).view(np.float32)
    rows = np.where(np.isfinite(rows), rows, np.float32(0))
    try:
        mine = quantizer(kind)(rows)
    except OverflowError:
        limit = 65504.0 if kind is GGMLType.F16 else 3.38e38
        assert float(np.abs(rows).max()) > limit
        return
    assert mine.tobytes() == ggml.quantize(rows, kind).tobytes()


@pytest.mark.parametrize("name", ["Q8_0", "Q5_0", "Q5_1", "Q4_0", "Q4_1", "Q6_K"])
def test_scales_beyond_f16_are_refused(name: str) -> None:
    """As llama-quantize does: the block would decode to infinities."""
    rows = np.full((2, 256), 1.0, np.float32)
    rows[1, 40] = 1e9
    with pytest.raises(OverflowError, match=rf"up to 1e\+09 are too large for .* {name}"):
        quantizer(GGMLType[name])(rows)
    assert not ggml.valid(ggml.quantize(rows, GGMLType[name]), GGMLType[name])
