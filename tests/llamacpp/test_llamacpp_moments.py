"""What is summed of a product's operands, against plain loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qpipe.errors import DataError, StageError
from qpipe.llamacpp.moments import Moments, weight_name

DENSE, EXPERTS, OTHER = 29, 30, 2


class Operand:
    """As much of a node as an observer looks at."""

    def __init__(
        self, name: str = "", data: Any = None, *, operation: int = 0, sources: Any = ()
    ) -> None:
        self.name = name
        self.operation = operation
        self.data = np.asarray(0.0 if data is None else data)
        self.operands = sources

    @property
    def shape(self) -> tuple[int, ...]:
        return (1,) * (4 - self.data.ndim) + self.data.shape

    @property
    def is_float32(self) -> bool:
        return self.data.dtype == np.float32

    def operand(self, index: int) -> Operand:
        found: Operand = self.operands[index]
        return found

    def floats(self) -> Any:
        return self.data.reshape(self.shape)

    integers = floats


def product(name: str, weight: tuple[int, ...], rows: Any, ids: Any = None) -> Any:
    sources = [Operand(name, np.zeros(weight)), Operand("x", rows)]
    if ids is None:
        return Operand("y", operation=DENSE, sources=sources)
    return Operand("y", operation=EXPERTS, sources=[*sources, Operand("ids", ids)])


def looped(start: Any, rows: Any) -> Any:
    total = start.copy()
    for row in rows:
        total += row * row
    return total


@pytest.fixture
def numbers() -> np.random.Generator:
    return np.random.default_rng(5)


def floats(numbers: np.random.Generator, *shape: int) -> Any:
    return (numbers.standard_normal(shape) * 10.0 ** numbers.integers(-3, 4, shape)).astype("f4")


@pytest.mark.parametrize("columns", [2, 7, 64, 9000])
def test_float32_sums_run_row_after_row(columns: int, numbers: np.random.Generator) -> None:
    """Bit for bit: pairwise sums, or sums in another precision, would differ."""
    moments = Moments()
    batches = [floats(numbers, rows, columns) for rows in (300, 16)]
    for rows in batches:
        moments.see(product("blk.0.attn_q.weight", (8, columns), rows))
    expected = looped(np.zeros(columns, np.float32), np.concatenate(batches))
    entry = moments.entries["blk.0.attn_q.weight"]
    np.testing.assert_array_equal(entry.sums, expected[None])
    assert entry.counts.tolist() == [316]


def test_each_matrix_of_a_dense_tensor_has_its_own_sums(numbers: np.random.Generator) -> None:
    rows = floats(numbers, 4, 20, 8)
    moments = Moments()
    moments.see(product("blk.0.attn_k_b.weight", (2, 5, 8), rows))
    entry = moments.entries["blk.0.attn_k_b.weight"]
    for matrix in range(2):
        expected = looped(looped(np.zeros(8, np.float32), rows[matrix]), rows[matrix + 2])
        np.testing.assert_array_equal(entry.sums[matrix], expected)
    assert entry.counts.tolist() == [40]


@pytest.mark.parametrize("slots", [1, 2])
def test_experts_sum_the_rows_of_their_tokens(slots: int, numbers: np.random.Generator) -> None:
    tokens, columns = 30, 12
    rows = floats(numbers, tokens, slots, columns)
    ids = np.array([[t % 3, 3 if t % 5 else (t + 1) % 3] for t in range(tokens)], np.int32)
    moments = Moments()
    moments.see(product("blk.1.ffn_up_exps.weight", (5, 9, columns), rows, ids))
    entry = moments.entries["blk.1.ffn_up_exps.weight"]
    expected, counts = np.zeros((5, columns), np.float32), [0] * 5
    for slot in range(2):
        for token in range(tokens):
            row = rows[token, slot % slots]
            expected[ids[token, slot]] += row * row
            counts[ids[token, slot]] += 1
    np.testing.assert_array_equal(entry.sums, expected)
    assert entry.counts.tolist() == counts
    assert counts[3] == 24
    assert counts[4] == 0


def test_which_products_are_wanted(numbers: np.random.Generator) -> None:
    rows, few = floats(numbers, 16, 8), floats(numbers, 15, 8)
    layer, head = "blk.0.attn_q.weight", "output.weight"
    assert Moments().wants(product(layer, (8, 8), rows))
    assert not Moments().wants(product(layer, (8, 8), few))
    assert not Moments().wants(product(layer, (8, 8), rows.astype(np.float16)))
    assert not Moments().wants(product("cache_k_l0", (8, 8), rows))
    assert not Moments().wants(product(head, (8, 8), rows))
    assert Moments(with_output=True).wants(product(head, (8, 8), rows))
    assert Moments().wants(product("e", (2, 8, 8), few, np.zeros((15, 2), np.int32)))
    assert not Moments().wants(Operand("sum", operation=OTHER))  # type: ignore[arg-type]


def test_names_of_copies_lose_device_and_number() -> None:
    assert weight_name("CUDA0#blk.0.attn_k.weight#0") == "blk.0.attn_k.weight"
    assert weight_name("CUDA0#blk.0.attn_k.weight") == "blk.0.attn_k.weight"
    assert weight_name("blk.0.attn_k.weight") == "blk.0.attn_k.weight"


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_sums_that_are_no_numbers_are_refused(bad: float, numbers: np.random.Generator) -> None:
    rows = floats(numbers, 16, 8)
    rows[3, 2] = bad
    with (
        np.errstate(over="ignore"),
        pytest.raises(DataError, match=r"'blk\.0\.attn_q\.weight' overflow or are no numbers"),
    ):
        Moments().see(product("blk.0.attn_q.weight", (8, 8), rows))


def test_one_name_for_two_shapes_is_refused(numbers: np.random.Generator) -> None:
    moments = Moments()
    moments.see(product("blk.0.w", (8, 8), floats(numbers, 16, 8)))
    with pytest.raises(StageError, match=r"\(1, 8\) and as \(1, 4\)"):
        moments.see(product("blk.0.w", (8, 4), floats(numbers, 16, 4)))
