"""Converted and quantized files against what llama.cpp's own tools made."""

from __future__ import annotations

from pathlib import Path

import gguf
import pytest

from qpipe.gguf import reader, values
from qpipe.gguf.convert import convert
from qpipe.gguf.quantize import quantize
from tests.gguf import samples

QUANTIZED = ("F16", "BF16", "Q8_0", "Q5_0", "Q5_1", "Q4_0", "Q4_1")


@pytest.fixture(scope="module", params=list(samples.MODELS))
def model(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def converted(model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp(model) / "converted.gguf"
    convert(samples.MODELS[model], out, outtype=samples.CONVERTED[model])
    return out


def test_metadata_is_what_the_converter_writes(model: str, converted: Path) -> None:
    metadata = values.decoded(reader.read(converted).metadata)
    found = {key: samples.summarized(value) for key, value in metadata.items()}
    wanted = samples.golden_metadata(model)
    assert found == wanted
    assert list(found) == list(wanted)
    assert [type(v) for v in found.values()] == [type(v) for v in wanted.values()]


def test_converted_tensors_are_bit_identical(model: str, converted: Path) -> None:
    wanted = samples.golden_rows(model, samples.CONVERTED[model])
    assert len(wanted) > 30
    assert samples.rows_of(converted) == wanted


@pytest.mark.parametrize("ftype", QUANTIZED)
def test_quantized_tensors_are_bit_identical(
    model: str, converted: Path, ftype: str, tmp_path: Path
) -> None:
    out = tmp_path / "quantized.gguf"
    quantize(converted, out, ftype=ftype)
    assert samples.rows_of(out) == samples.golden_rows(model, ftype, again=True)


def test_metadata_types_are_those_of_the_gguf_package(model: str, converted: Path) -> None:
    """Number types, which the golden files do not tell: what gguf's writer would choose."""
    fields = gguf.GGUFReader(converted).fields
    kinds = {key: [t.name for t in field.types] for key, field in fields.items()}
    arch = fields["general.architecture"].contents()
    assert kinds["tokenizer.ggml.tokens"] == ["ARRAY", "STRING"]
    assert kinds["tokenizer.ggml.scores"] == ["ARRAY", "FLOAT32"]
    assert kinds["tokenizer.ggml.token_type"] == ["ARRAY", "INT32"]
    assert kinds["tokenizer.ggml.add_bos_token"] == ["BOOL"]
    assert kinds[f"{arch}.rope.freq_base"] == ["FLOAT32"]
    integers = {
        key
        for key, field in fields.items()
        if isinstance(field.contents(), int) and not isinstance(field.contents(), bool)
    } - {"GGUF.version", "GGUF.tensor_count", "GGUF.kv_count"}
    assert len(integers) > 10
    assert {kinds[key][0] for key in integers} == {"UINT32"}


def test_quantizing_moves_two_keys_to_the_end(model: str, converted: Path, tmp_path: Path) -> None:
    """As llama-quantize does, which removes and appends them."""
    quantize(converted, tmp_path / "q.gguf", ftype="Q4_1")
    before = values.decoded(reader.read(converted).metadata)
    after = values.decoded(reader.read(tmp_path / "q.gguf").metadata)
    moved = {"general.quantization_version": 2, "general.file_type": 3}
    assert list(after)[-2:] == list(moved)
    assert after == before | moved
