"""Relative errors of tensors, beside those that gguf-py's numpy reading of the file gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import gguf.quants
import numpy as np
import numpy.typing as npt
import pytest

from qpipe.errors import EngineMissingError
from qpipe.gguf import chunks, ggml, reader, stream, weight_errors
from qpipe.gguf.chunks import OutputTensor
from qpipe.gguf.quantizers import quantizer
from qpipe.gguf.rows import GGUFRows
from qpipe.gguf.types import GGMLType

KINDS = [
    *("Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"),
    *("IQ4_NL", "IQ4_XS", "TQ1_0", "TQ2_0", "MXFP4"),
]


def numpy_reads(data: npt.NDArray[np.uint8], kind: GGMLType) -> npt.NDArray[np.float32]:
    read: npt.NDArray[np.float32] = gguf.quants.dequantize(
        data, gguf.GGMLQuantizationType[kind.name]
    )
    return read


@pytest.mark.parametrize("name", KINDS)
def test_ggml_reads_what_numpy_reads(name: str) -> None:
    rows = np.random.default_rng(1).standard_normal((4, 512), np.float32)
    data = quantizer(GGMLType[name])(rows)
    assert ggml.dequantizes(GGMLType[name])
    read = ggml.dequantize(data, GGMLType[name], 512)
    np.testing.assert_allclose(read, numpy_reads(data, GGMLType[name]), rtol=1e-5, atol=1e-7)


def source(folder: Path) -> reader.GGUFFile:
    """Rows of very different sizes, a matrix of one chunk and one of several, and experts."""
    rng = np.random.default_rng(2)
    writer = gguf.GGUFWriter(folder / "source.gguf", "llama")
    for name, shape in {"small": (64, 256), "large": (3000, 512), "experts": (4, 96, 256)}.items():
        scale = rng.lognormal(0, 1, shape[:-1])[..., None]
        writer.add_tensor(name, (rng.standard_normal(shape) * scale).astype(np.float32))
    writer.add_tensor("zero", np.zeros((2, 256), np.float32))
    writer.add_tensor("norm", np.ones(256, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return reader.read(folder / "source.gguf")


def test_they_are_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "WEIGHTS", 100_000)
    given = source(tmp_path)
    floats = [
        OutputTensor(t.name, t.shape, t.type, GGUFRows(given, t)) for t in given.tensors.values()
    ]
    files = []
    for kind in (GGMLType.Q4_K, GGMLType.Q8_0, GGMLType.F16):
        outputs = [replace(o, type=kind) if len(o.shape) > 1 else o for o in floats]
        files.append(stream.OutputFile(tmp_path / f"{kind.name}.gguf", given.metadata, outputs))
    written = [each.errors for each in stream.write(files, threads=2)]
    assert written[2] == {}, "floats have none"
    for file, errors in zip(files[:2], written, strict=False):
        assert errors.keys() == {"small", "large", "experts", "zero"}
        assert errors["zero"] == 0
        made = reader.read(file.out)
        for name in ("small", "large", "experts"):
            tensor = made.tensors[name]
            exact = given.data(given.tensors[name]).view(np.float32).astype(np.float64)
            off = numpy_reads(made.data(tensor), tensor.type) - exact
            whole = float(np.linalg.norm(off) / np.linalg.norm(exact))
            sampled = weight_errors.stride(tensor.shape) > 1
            assert errors[name] == pytest.approx(whole, rel=0.05 if sampled else 2e-4), name
    (alone,) = stream.write([replace(files[0], out=tmp_path / "alone.gguf")], threads=1)
    assert alone.errors == written[0], "whatever is made beside it, by however many threads"


def test_which_rows_are_looked_at() -> None:
    """All of a small tensor, some of a large one; never at an even distance."""
    assert weight_errors.stride((64, 256)) == 1
    strides = [weight_errors.stride((rows, 4096)) for rows in (4, 64, 1000, 200_000)]
    assert strides == [1, 17, 65, 65]


def test_where_ggml_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise EngineMissingError("none")

    monkeypatch.setattr(ggml, "_library", missing)
    rows = np.ones((1, 256), np.float32)
    data = rows.view(np.uint8)
    assert weight_errors.squares(rows, data, GGMLType.Q8_0, start=0, shape=rows.shape) is None
