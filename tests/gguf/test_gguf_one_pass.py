"""Random checkpoints of every architecture in one pass, against ggml's own quantizers.

Every type on a model of plain layers and on one with experts, whose rows are of three lengths;
three types on each other architecture, each in turn. `make soak` has the whole product.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from qpipe.gguf import convert, ggml, imatrix, quantize, reader
from qpipe.gguf.types import FLOATS, GGMLType
from qpipe.llamacpp.backend import LlamaCppBackend
from tests.gguf.test_gguf_arch import CASES, make

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("one-pass")]

# Between them, all families of types and all fallbacks of rows that are too short for K-quants.
PLAIN = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_S", "Q3_K_L", "Q2_K", "Q4_0", "Q5_1", "IQ4_XS")
WEIGHED = tuple(f"{name}+imatrix" for name in ("Q4_K_M", "Q3_K_M", "Q2_K_S", "IQ2_XS", "IQ3_M"))
EVERY = [(case, ftype) for case in CASES for ftype in (*PLAIN, *WEIGHED)]


def _telling() -> Iterator[tuple[str, str]]:
    for number, case in enumerate(CASES):
        if case in ("llama", "qwen2_moe"):
            yield from ((case, ftype) for ftype in (*PLAIN, *WEIGHED))
        else:
            at = 2 * number % len(PLAIN)
            yield case, PLAIN[at]
            yield case, PLAIN[(at + 1) % len(PLAIN)]
            yield case, WEIGHED[number % len(WEIGHED)]


TELLING = list(_telling())


@dataclass(frozen=True)
class Case:
    """A checkpoint, its file in half precision, and importances of its matrices' columns."""

    checkpoint: Path
    f16: Path
    imatrix: Path
    importances: dict[str, npt.NDArray[np.float32]]


def weights(file: reader.GGUFFile, tensor: reader.Tensor) -> npt.NDArray[np.float32]:
    """[matrices, rows, weights per row] of a tensor in F32 or F16."""
    dtype = np.float32 if tensor.type is GGMLType.F32 else np.float16
    data = np.fromfile(file.path, np.uint8, tensor.nbytes, offset=tensor.offset)
    shape = (-1, *tensor.shape[-2:]) if len(tensor.shape) > 1 else (1, 1, *tensor.shape)
    return data.view(dtype).astype(np.float32).reshape(shape)


@pytest.fixture(scope="module")
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Case]:
    folder = tmp_path_factory.mktemp(str(request.param))
    checkpoint, f16 = make(request.param, folder), folder / "f16.gguf"
    convert.convert(checkpoint, f16, outtype="F16")
    rng = np.random.default_rng(7)
    sums = {
        name: rng.random((int(np.prod(tensor.shape[:-2])), tensor.shape[-1]), np.float32)
        for name, tensor in reader.read(f16).tensors.items()
        if len(tensor.shape) > 1
    }
    counts = {name: np.ones(len(rows), np.float32) for name, rows in sums.items()}
    entries = {name: (rows, counts[name]) for name, rows in sums.items()}
    matrix = folder / "imatrix.gguf"
    imatrix.write(matrix, entries, datasets=["random"], chunks=1, chunk_size=512)
    yield Case(checkpoint, f16, matrix, sums)


@pytest.mark.parametrize(("case", "ftype"), TELLING, indirect=["case"])
def test_every_row_is_as_ggml_quantizes_it(case: Case, ftype: str, tmp_path: Path) -> None:
    require_as_ggml(case, ftype, tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize(
    ("case", "ftype"), [pair for pair in EVERY if pair not in TELLING], indirect=["case"]
)
def test_all_others_are_too(case: Case, ftype: str, tmp_path: Path) -> None:
    require_as_ggml(case, ftype, tmp_path)


def require_as_ggml(case: Case, ftype: str, tmp_path: Path) -> None:
    """Quantize in one pass, and compare every row."""
    name, _, weighed = ftype.partition("+")
    out = tmp_path / "q.gguf"
    quantize.quantize(
        convert.prepare(case.checkpoint, outtype="F16"),
        out,
        ftype=name,
        imatrix=case.imatrix if weighed else None,
        threads=2,
    )
    half, made = reader.read(case.f16), reader.read(out)
    assert made.tensors.keys() == half.tensors.keys()
    quantized = 0
    for tensor in made.tensors.values():
        source = half.tensors[tensor.name]
        found = np.fromfile(out, np.uint8, tensor.nbytes, offset=tensor.offset)
        if tensor.type in FLOATS:
            assert tensor.type == source.type
            kept = np.fromfile(case.f16, np.uint8, source.nbytes, offset=source.offset)
            assert (found == kept).all(), tensor.name
            continue
        quantized += 1
        matrices = weights(half, source)
        rows = case.importances[tensor.name] if weighed else [None] * len(matrices)
        wanted = [
            ggml.quantize(matrix, tensor.type, imatrix=row)
            for matrix, row in zip(matrices, rows, strict=True)
        ]
        assert (found == np.concatenate(wanted, axis=None)).all(), (tensor.name, tensor.type)
    assert quantized > 5
    with LlamaCppBackend(out, threads=1) as backend:
        assert backend.n_ctx_train == 512
