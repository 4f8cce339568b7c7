"""Tensors on a lattice keep it; all others are as they were."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qpipe import errors
from qpipe.gguf import chunks, convert, ggml, lattices, quantize, quantizers, reader, stream, values
from qpipe.gguf.lattices import Kept
from qpipe.gguf.rows import BufferRows
from qpipe.gguf.types import GGMLType
from tests.cli import called
from tests.gguf import samples, snapped

Floats = snapped.Floats


def random(rows: int = 64, columns: int = 512, seed: int = 0) -> Floats:
    generator = np.random.default_rng(seed)
    return (generator.standard_normal((rows, columns)) * 0.02).astype(np.float32)


def ternary(weights: Floats) -> Floats:
    signs: Floats = np.clip(np.rint(weights / 0.02), -1, 1)
    return signs * np.float32(0.0137)


def zero_points(weights: Floats) -> Floats:
    """Groups of 128 as AWQ has them: sixteen levels around a whole zero point."""
    groups = weights.reshape(-1, 128)
    low, high = groups.min(axis=1, keepdims=True), groups.max(axis=1, keepdims=True)
    step = ((high - low) / 15).astype(np.float16).astype(np.float32)
    zero = np.rint(-low / step)
    levels = np.clip(np.rint(groups / step) + zero, 0, 15) - zero
    made: Floats = (levels * step).reshape(weights.shape)
    return made


SOURCES: dict[str, Callable[[Floats], Floats]] = {
    "15 levels a block": lambda w: snapped.snap(w, 7),
    "15 levels a row": lambda w: snapped.snap(w, 7, group=512),
    "31 levels a row": lambda w: snapped.snap(w, 15, group=512),
    "255 levels a row": lambda w: snapped.snap(w, 127, group=512),
    "three levels": ternary,
    "zero points": zero_points,
}
FIT = [
    (GGMLType.Q4_0, "15 levels a block"),
    (GGMLType.Q4_0, "three levels"),
    (GGMLType.Q4_1, "15 levels a block"),
    (GGMLType.Q4_1, "zero points"),
    (GGMLType.Q5_0, "31 levels a row"),
    (GGMLType.Q5_0, "zero points"),
    (GGMLType.Q5_1, "31 levels a row"),
    (GGMLType.Q8_0, "255 levels a row"),
    (GGMLType.Q8_0, "three levels"),
    (GGMLType.Q4_K, "15 levels a row"),
    (GGMLType.Q5_K, "31 levels a row"),
    (GGMLType.Q6_K, "31 levels a row"),
    (GGMLType.Q6_K, "zero points"),
]
NEAR = [(GGMLType.Q4_K, 0.005), (GGMLType.Q5_K, 0.005), (GGMLType.Q6_K, 0.003)]
LEFT = [
    (GGMLType.Q4_0, "31 levels a row"),
    (GGMLType.Q5_1, "255 levels a row"),
    (GGMLType.Q4_K, "31 levels a row"),
    (GGMLType.Q6_K, "255 levels a row"),
]


def found(kind: GGMLType, weights: Floats) -> bool:
    return lattices.found(kind, len(weights), weights.shape[1], lambda a, b: weights[a:b])


def error(kind: GGMLType, weights: Floats, *, lattice: bool) -> tuple[float, Kept]:
    """‖q − x‖ ÷ ‖x‖, and what was kept."""
    made, kept = quantizers.quantizer(kind)(weights), Kept()
    if lattice:
        kept = lattices.keep(weights, made, kind)
    off = ggml.dequantize(made, kind, weights.shape[1]) - weights
    return float(np.linalg.norm(off) / np.linalg.norm(weights)), kept


@pytest.mark.parametrize(("kind", "source"), FIT, ids=lambda value: getattr(value, "name", value))
def test_a_lattice_is_kept_up_to_rounding(kind: GGMLType, source: str) -> None:
    weights = snapped.through_bf16(SOURCES[source](random()))
    assert found(kind, weights)
    near, kept = error(kind, weights, lattice=True)
    assert near < 0.0018
    assert kept.on == kept.blocks and kept.whole
    assert near < error(kind, weights, lattice=False)[0]


@pytest.mark.parametrize(("kind", "most"), NEAR, ids=lambda value: getattr(value, "name", ""))
def test_steps_of_a_superblock_are_nearly_met(kind: GGMLType, most: float) -> None:
    """Eight steps of their own are multiples of one: a tenth of ggml's error or so is left."""
    weights = snapped.through_bf16(snapped.snap(random(), 7))
    assert found(kind, weights)
    near, kept = error(kind, weights, lattice=True)
    assert kept.whole
    assert near < most < error(kind, weights, lattice=False)[0] / 5


@pytest.mark.parametrize(("kind", "source"), LEFT, ids=lambda value: getattr(value, "name", value))
def test_a_finer_lattice_is_none(kind: GGMLType, source: str) -> None:
    assert not found(kind, snapped.through_bf16(SOURCES[source](random())))


@pytest.mark.parametrize("kind", lattices.TYPES, ids=lambda kind: kind.name)
@pytest.mark.parametrize("seed", range(3))
def test_other_weights_are_on_none(kind: GGMLType, seed: int) -> None:
    plain = snapped.through_bf16(random(seed=seed))
    alike = np.sign(plain) * (1 + np.abs(plain))  # nearly one size: any level is near
    heavy = plain**5
    pruned = plain * (np.abs(plain) > 0.02)
    for weights in (plain, snapped.through_bf16(alike), heavy, pruned, plain * 0):
        assert not found(kind, weights)
        if weights is not plain:
            continue
        made = quantizers.quantizer(kind)(weights)
        before = made.copy()
        assert lattices.keep(weights, made, kind).on == 0
        assert (made == before).all()


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from([kind for kind in lattices.TYPES if not lattices.TYPES[kind][1]]),
    levels=st.lists(st.integers(-8, 7), min_size=32, max_size=32),
    step=st.floats(2.0**-10, 1000.0),
)
def test_levels_come_back(kind: GGMLType, levels: list[int], step: float) -> None:
    """Whatever levels a block has, of any step: each weight is off by its rounding alone."""
    row = np.array([levels * (kind.block // 32)], np.float32) * np.float32(step)
    weights = snapped.through_bf16(row)
    made = quantizers.quantizer(kind)(weights)
    assert lattices.keep(weights, made, kind).on == int(any(levels))
    off = np.abs(ggml.dequantize(made, kind, kind.block) - weights)
    assert (off <= 0.006 * np.abs(weights)).all()


@pytest.mark.parametrize("kind", lattices.TYPES, ids=lambda kind: kind.name)
def test_no_number_stops_it(kind: GGMLType) -> None:
    """The chunk with such a weight is refused by whoever checks it."""
    weights = snapped.snap(random(rows=4), 7)
    weights[0, 3], weights[0, 40], weights[1, 5] = np.nan, np.inf, 3e38
    assert found(kind, weights) in (True, False)
    made = quantizers.quantizer(kind)(np.clip(weights[2:], -1, 1))
    assert lattices.keep(weights[2:], made, kind).on >= 0


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return snapped.checkpoint(tmp_path_factory.mktemp("snapped") / "model")


def test_a_model_keeps_it_however_it_is_read(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In chunks of any size, by any number of threads, beside other levels, from a checkpoint, from
    a file, and from tensors that come once."""
    source = convert.prepare(model, outtype="F16")
    wanted = quantize.prepare(source, "Q4_0", provenance={})
    assert len(wanted.on_lattice) == 29
    (alone,) = stream.write([wanted.file(tmp_path / "alone.gguf")])
    assert lattices.whole(alone.kept) == wanted.on_lattice
    squares = [alone.errors[name] ** 2 for name in wanted.on_lattice]
    assert np.sqrt(np.mean(squares)) <= 0.002, "by the usual rule 0.084"
    header = values.decoded(reader.read(tmp_path / "alone.gguf").metadata)
    assert header["qpipe.lattice_tensors"] == 29
    rows = samples.rows_of(tmp_path / "alone.gguf")

    convert.convert(model, tmp_path / "f16.gguf", outtype="F16")
    other = quantize.prepare(tmp_path / "f16.gguf", "Q4_0", provenance={})
    beside = quantize.prepare(source, "Q8_0", scales="ggml")
    stream.write([other.file(tmp_path / "file.gguf")])
    assert samples.rows_of(tmp_path / "file.gguf") == rows
    stream.write(
        [beside.file(tmp_path / "beside.gguf"), wanted.file(tmp_path / "pass.gguf")], threads=2
    )
    assert (tmp_path / "pass.gguf").read_bytes() == (tmp_path / "alone.gguf").read_bytes()
    monkeypatch.setattr(chunks, "WEIGHTS", 9000)
    stream.write([wanted.file(tmp_path / "chunks.gguf")], threads=3)
    assert (tmp_path / "chunks.gguf").read_bytes() == (tmp_path / "alone.gguf").read_bytes()

    class Once:
        """A tensor's rows, once."""

        def __init__(self, rows: chunks.Rows) -> None:
            self._rows, self.origin, self.type = rows, rows.origin, rows.type

        def read(self, start: int, stop: int) -> BufferRows:
            stored = self._rows.floats(start, stop).view(np.uint8)
            return BufferRows(self.origin, GGMLType.F32, stored, start)

        def floats(self, start: int, stop: int) -> chunks.Floats:
            raise AssertionError

        def raw(self, start: int, stop: int) -> chunks.Bytes:
            raise AssertionError

    streamed = replace(source, outputs=[replace(o, rows=Once(o.rows)) for o in source.outputs])
    once = quantize.prepare(streamed, "Q4_0", scales="lattice", provenance={})
    assert once.on_lattice == [], "not known before it is read"
    stream.write([once.file(tmp_path / "once.gguf")])
    assert (tmp_path / "once.gguf").read_bytes() == (tmp_path / "alone.gguf").read_bytes()


def test_ggmls_scales_are_llama_cpps(model: Path, tmp_path: Path) -> None:
    quantize.quantize(
        convert.prepare(model, outtype="F16"), tmp_path / "q.gguf", ftype="Q4_0", scales="ggml"
    )
    file = reader.read(tmp_path / "q.gguf")
    convert.convert(model, tmp_path / "f16.gguf", outtype="F16")
    half = reader.read(tmp_path / "f16.gguf")
    for name, tensor in file.tensors.items():
        if tensor.type is GGMLType.Q4_0:
            exact = half.data(half.tensors[name]).view(np.float16).astype(np.float32)
            assert (file.data(tensor) == ggml.quantize(exact, tensor.type)).all(), name


def test_a_lattice_goes_before_importances(model: Path, tmp_path: Path) -> None:
    source = convert.prepare(model, outtype="F16")
    matrix = samples.imatrix_of("tinystories-d256")
    plain = quantize.prepare(source, "Q5_0", provenance={})
    weighed = quantize.prepare(source, "Q5_0", imatrix=matrix, provenance={})
    stream.write([plain.file(tmp_path / "1.gguf")])
    stream.write([weighed.file(tmp_path / "2.gguf")])
    mine, others = (
        {row.tensor: row for row in samples.rows_of(tmp_path / f"{n}.gguf")} for n in "12"
    )
    same = [name for name in plain.on_lattice if mine[name].type == others[name].type]
    assert len(same) > 20
    assert all(mine[name] == others[name] for name in same)


@pytest.mark.parametrize(
    ("ftype", "says"),
    [
        ("Q4_0", r"none of the tensors that could keep one \(.*28 Q4_0.*\) lies on a lattice"),
        ("IQ4_NL", r"none of the tensors that could keep one \(1 Q6_K\) lies on a lattice"),
        ("F16", "no tensor is of a type that can keep one"),
    ],
)
def test_a_recipe_that_insists(ftype: str, says: str, tmp_path: Path) -> None:
    source = convert.prepare(samples.MODELS["tinystories-d256"], outtype="F16")
    with pytest.raises(errors.RecipeError, match=says):
        quantize.prepare(source, ftype, scales="lattice")


@pytest.mark.slow
def test_the_model_computes_the_same(model: Path, tmp_path: Path) -> None:
    """KL divergence from the snapped model; by the usual rule it is about 0.013."""
    answer = called(
        *("run", "local", f"model.source={model}", "quantize.type=Q4_0", "evaluate=kld"),
        *("evaluate.text=builtin:texts/tinystories_lower_heldout.txt", "evaluate.n_ctx=256"),
        *("evaluate.chunks=8", "executor=inline", "--json", "--store", "store"),
        cwd=tmp_path,
    )
    assert answer.code == 0, answer.stderr
    reference, made = json.loads(answer.stdout)["rows"]
    assert reference["format"] == "F16" and made["format"] == "Q4_0"
    assert 0 < made["kld"] <= 0.001
    assert any("29 of 29 quantized tensors" in note for note in made["notes"])
