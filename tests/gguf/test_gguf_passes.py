"""Several files from one pass: the bytes of each alone, and every row read once."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from qpipe import errors
from qpipe.gguf import (
    chunks,
    convert,
    imatrix,
    lattices,
    quantize,
    quantizers,
    reader,
    stream,
    values,
)
from qpipe.gguf.file_plan import FilePlan
from qpipe.gguf.mixture import TypeRequest
from qpipe.gguf.types import GGMLType
from qpipe.support.hashing import Sealed
from tests.gguf.test_gguf_arch import make
from tests.hashed import counted

# Files in the checkpoint's order of tensors (F16) and in llama-quantize's, with types in common.
LEVELS = ("F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_K_M+imatrix", "Q2_K+imatrix", "Q4_0")


@dataclass(frozen=True)
class Counting:
    """Rows that count how often each of them is read."""

    rows: chunks.Rows
    reads: Counter[tuple[str, int]]

    @property
    def origin(self) -> str:
        return self.rows.origin

    @property
    def type(self) -> GGMLType | None:
        return self.rows.type

    def raw(self, start: int, stop: int) -> chunks.Bytes:
        self.reads.update((self.origin, row) for row in range(start, stop))
        return self.rows.raw(start, stop)

    def floats(self, start: int, stop: int) -> chunks.Floats:
        self.reads.update((self.origin, row) for row in range(start, stop))
        return self.rows.floats(start, stop)


@pytest.fixture(scope="module", params=["qwen3", "mixtral"])
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(request.param, tmp_path_factory.mktemp(str(request.param)))


def levels(given: FilePlan, folder: Path, names: Sequence[str]) -> list[FilePlan]:
    """Each level of a model, those that say so with random importances."""
    rng = np.random.default_rng(3)
    entries = {
        output.name: (
            rng.random((int(np.prod(output.shape[:-2])), output.shape[-1]), np.float32),
            np.ones(int(np.prod(output.shape[:-2])), np.float32),
        )
        for output in given.outputs
        if len(output.shape) > 1
    }
    matrix = folder / "imatrix.gguf"
    imatrix.write(matrix, entries, datasets=["random"], chunks=1, chunk_size=512)
    return [
        quantize.prepare(given, name.split("+")[0], imatrix=matrix if "+" in name else None)
        for name in names
    ]


def test_every_file_is_as_if_written_alone(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "WEIGHTS", 5000)  # several chunks a tensor
    monkeypatch.setattr(lattices, "found", lambda *_: False)  # which reads a sample before
    reads: Counter[tuple[str, int]] = Counter()
    given = convert.prepare(source, outtype="F16")
    counted = replace(
        given,
        outputs=[replace(o, rows=Counting(o.rows, reads)) for o in given.outputs],
    )
    seen: dict[int, tuple[int, int]] = {}
    files = [
        level.file(tmp_path / f"{n}.gguf", progress=lambda *at, n=n: seen.update({n: at}))
        for n, level in enumerate(levels(counted, tmp_path, LEVELS))
    ]
    stream.write(files, threads=2)
    assert set(reads.values()) == {1}
    for n, level in enumerate(levels(given, tmp_path, LEVELS)):
        level.write(tmp_path / "alone.gguf")
        assert (tmp_path / f"{n}.gguf").read_bytes() == (tmp_path / "alone.gguf").read_bytes()
        data = sum(output.nbytes for output in level.outputs)
        assert seen[n] == (data, data)


def test_a_fault_leaves_none_of_the_files(source: Path, tmp_path: Path) -> None:
    given = convert.prepare(source, outtype="F32")
    last = given.outputs[-1]

    @dataclass(frozen=True)
    class Damaged(Counting):
        def floats(self, start: int, stop: int) -> chunks.Floats:
            return np.full_like(super().floats(start, stop), np.nan)

    damaged = replace(
        given, outputs=[*given.outputs[:-1], replace(last, rows=Damaged(last.rows, Counter()))]
    )
    files = [
        level.file(tmp_path / f"{level.file_type}.gguf")
        for level in levels(damaged, tmp_path, ("Q8_0", "Q4_K_M"))
    ]
    with pytest.raises(errors.CheckpointError, match="is nan; a model with such weights"):
        stream.write(files, threads=2)
    assert [path.name for path in tmp_path.glob("*.gguf*")] == ["imatrix.gguf"]


def test_types_in_common_are_quantized_once(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = convert.prepare(source, outtype="F16")
    calls: Counter[GGMLType] = Counter()
    original = quantizers.quantizer

    def counting(kind: GGMLType) -> quantizers.Quantizer:
        calls[kind] += 1
        return original(kind)

    monkeypatch.setattr(quantizers, "quantizer", counting)
    wanted = TypeRequest.of("Q8_0", tensor_types={"attn_v": "Q4_0"})
    first = quantize.prepare(given, "Q8_0")
    second = quantize.prepare(given, wanted)
    stream.write([first.file(tmp_path / "1.gguf"), second.file(tmp_path / "2.gguf")])
    kinds = Counter(tensor.type for tensor in reader.read(tmp_path / "1.gguf").tensors.values())
    others = Counter(tensor.type for tensor in reader.read(tmp_path / "2.gguf").tensors.values())
    assert calls[GGMLType.Q8_0] == kinds[GGMLType.Q8_0]
    assert calls[GGMLType.Q4_0] == others[GGMLType.Q4_0] > 0


def test_a_file_is_hashed_while_it_is_written(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As far as it is written from front to end: F16 here is not, beside the order of the first."""
    monkeypatch.setattr(chunks, "WEIGHTS", 5000)
    given = convert.prepare(source, outtype="F16")
    sealed: dict[str, Sealed] = {}
    hashed = counted(monkeypatch)

    def write(plans: Sequence[FilePlan]) -> list[bytes]:
        sealed.clear()
        hashed.clear()
        outs = [tmp_path / f"{plan.file_type}.gguf" for plan in plans]
        files = [
            plan.file(out, hashed=partial(sealed.__setitem__, out.name))
            for plan, out in zip(plans, outs, strict=True)
        ]
        stream.write(files, threads=2)
        for out in outs:
            if seal := sealed.get(out.name):
                assert seal.sha256 == hashlib.sha256(out.read_bytes()).hexdigest()
                assert seal.is_still(out.stat())
        return [out.read_bytes() for out in outs]

    levels_bytes = write(levels(given, tmp_path, ("Q4_K_M", "Q8_0", "F16")))
    assert sorted(sealed) == ["Q4_K_M.gguf", "Q8_0.gguf"]
    assert sum(hashed.values()) == sum(map(len, levels_bytes[:2]))
    write([convert.prepare(source, outtype=outtype) for outtype in ("F32", "F16", "BF16")])
    assert len(sealed) == 3
    write([quantize.read(tmp_path / "F32.gguf")])  # whose tensors are copied from a mapped file
    assert len(sealed) == 1


def test_a_header_that_is_written_last_is_not_hashed_first(source: Path, tmp_path: Path) -> None:
    """What a file says of its lattices is known when all is written."""
    given = convert.prepare(source, outtype="F16")
    plan = quantize.prepare(given, "Q8_0", provenance={})
    noted = replace(plan, metadata={**plan.metadata, lattices.NOTED: values.u32(7)})
    sealed: list[Sealed] = []
    stream.write([noted.file(tmp_path / "noted.gguf", hashed=sealed.append)])
    assert not sealed
    stream.write([replace(noted.file(tmp_path / "noted.gguf"), hashed=sealed.append)])
    assert not sealed, "its header was written again"
