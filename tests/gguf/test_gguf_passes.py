"""Several files from one pass: the bytes of each alone, and every row read once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from qpipe import errors
from qpipe.gguf import chunks, convert, imatrix, lattices, quantize, quantizers, reader, stream
from qpipe.gguf.file_plan import FilePlan
from qpipe.gguf.mixture import TypeRequest
from qpipe.gguf.types import GGMLType
from tests.gguf.test_gguf_arch import make

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
