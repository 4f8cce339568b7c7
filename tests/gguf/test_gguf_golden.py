"""Converted and quantized files against what llama.cpp's own tools made."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import gguf
import pytest
from _pytest.mark import ParameterSet

from qpipe import errors
from qpipe.gguf import ftypes, reader, values
from qpipe.gguf.convert import OUTTYPES, convert
from qpipe.gguf.convert import prepare as checkpoint
from qpipe.gguf.file_plan import FilePlan
from qpipe.gguf.quantize import quantize
from tests.gguf import samples


def _cases() -> Iterator[ParameterSet]:
    """Every file of llama-quantize's. ggml's search for IQ types in models of real size is slow, so
    those with importances are of one model (and of one mix of one-bit types); others soak."""
    for row in samples.table("files.tsv"):
        big = row["model"] in ("qwen2-r", "tinystories-d256") and row["ftype"].startswith("IQ")
        again = row["model"] == "qwen2-r" or row["ftype"] == "IQ1_M"
        searched = row["imatrix"] == "imatrix" and row["sha256"] not in ("refused", "failed")
        yield pytest.param(
            row,
            id="-".join((row["model"], row["ftype"], row["imatrix"])),
            marks=[pytest.mark.soak if again and searched else pytest.mark.slow] if big else [],
        )


@pytest.fixture(scope="module", params=list(samples.MODELS))
def model(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def convert_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("converted")

    def make(model: str) -> Path:
        out = folder / f"{model}.gguf"
        if not out.exists():
            convert(samples.MODELS[model], out, outtype=samples.CONVERTED[model])
        return out

    return make


@pytest.fixture(scope="module")
def converted(model: str, convert_once: Callable[[str], Path]) -> Path:
    return convert_once(model)


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


@pytest.mark.parametrize("case", list(_cases()))
def test_quantized_files_are_bit_identical(
    case: dict[str, str], convert_once: Callable[[str], Path], tmp_path: Path
) -> None:
    """Each tensor against the golden file where there is one, and the whole file always.

    From the checkpoint in one pass; from the converted file where nothing is quantized.
    """
    model, ftype, use = case["model"], case["ftype"], case["imatrix"]
    outtype = samples.CONVERTED[model]
    source: Path | FilePlan = convert_once(model)
    if ftype != outtype:
        source = checkpoint(samples.MODELS[model], outtype=outtype)
    out = tmp_path / "quantized.gguf"
    imatrix = samples.imatrix_of(model) if use == "imatrix" else None
    if case["sha256"] in ("refused", "failed"):
        with pytest.raises(errors.RecipeError, match=r"importance matrix|no other type stands in"):
            quantize(source, out, ftype=ftype, imatrix=imatrix)
        return
    notes = quantize(source, out, ftype=ftype, imatrix=imatrix, threads=2).notes
    if (ftype, use) in samples.golden_files(model):
        wanted = samples.golden_rows(model, ftype, again=True, imatrix=use)
        assert sorted(samples.rows_of(out)) == sorted(wanted)
    assert hashlib.sha256(out.read_bytes()).hexdigest() == case["sha256"]
    causes = (" rows of ", "the model has no experts")
    assert all(note.startswith(f"{ftype}: ") and any(c in note for c in causes) for note in notes)


TYPES_OF_PASSES = ("Q4_K_M", "Q5_1", "IQ4_XS")


@pytest.mark.slow
@pytest.mark.parametrize(("model", "ftype", "outtype"), [
    (model, ftype, OUTTYPES[(of_model + of_type) % len(OUTTYPES)])
    for of_model, model in enumerate(samples.MODELS)
    for of_type, ftype in enumerate(TYPES_OF_PASSES)
])  # fmt: skip
def test_one_pass_and_two_give_the_same_file(
    model: str, ftype: str, outtype: str, tmp_path: Path
) -> None:
    """Weights lose what half precision cannot hold on either way. All pairs of model, type and
    precision in between."""
    convert(samples.MODELS[model], tmp_path / "f.gguf", outtype=outtype)
    quantize(tmp_path / "f.gguf", tmp_path / "two.gguf", ftype=ftype)
    given = checkpoint(samples.MODELS[model], outtype=outtype)
    quantize(given, tmp_path / "one.gguf", ftype=ftype)
    assert (tmp_path / "one.gguf").read_bytes() == (tmp_path / "two.gguf").read_bytes()


def test_every_golden_file_is_compared() -> None:
    compared = {(r["model"], r["ftype"], r["imatrix"]) for r in samples.table("files.tsv")}
    golden = {(model, *key) for model in samples.MODELS for key in samples.golden_files(model)}
    assert golden <= compared
    assert {ftype for _, ftype, _ in compared} == set(ftypes.FILE_TYPES)
    assert len(golden) == 122


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
