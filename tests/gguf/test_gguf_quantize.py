"""Quantizing: rules, refusals, determinism; bit-exactness is in test_gguf_golden."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qpipe import errors
from qpipe.gguf import reader
from qpipe.gguf.convert import convert
from qpipe.gguf.inspect import inspect
from qpipe.gguf.mixture import TypeRequest
from qpipe.gguf.quantize import quantize
from tests.gguf import samples


@pytest.fixture(scope="module")
def f16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("f16") / "model.gguf"
    convert(samples.MODELS["tinystories-d256"], out, outtype="F16")
    return out


@pytest.fixture(scope="module")
def f32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("f32") / "model.gguf"
    convert(samples.MODELS["stories260K"], out, outtype="F32")
    return out


def types_of(path: Path) -> dict[str, str]:
    return {tensor.name: tensor.type.name for tensor in reader.read(path).tensors.values()}


def test_facts(f16: Path, tmp_path: Path) -> None:
    facts = quantize(f16, tmp_path / "q.gguf", ftype="q4_0").facts
    rows = samples.rows_of(tmp_path / "q.gguf")
    assert facts["types"] == {"F32": 9, "Q4_0": 28, "Q6_K": 1}
    assert facts["n_tensors"] == len(rows) == 38
    assert facts["n_weights"] == 3410176
    assert facts["tensor_bytes"] == 2304 * 4 + 3145728 * 18 // 32 + 262144 * 210 // 256
    assert facts["bits_per_weight"] == facts["tensor_bytes"] * 8 / facts["n_weights"]
    assert facts["file_bytes"] == (tmp_path / "q.gguf").stat().st_size
    assert (facts["architecture"], facts["file_type"]) == ("llama", "Q4_0")


def test_same_bytes_whatever_the_threads(
    f16: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quantize(f16, tmp_path / "one.gguf", ftype="Q5_0")
    monkeypatch.setattr("qpipe.gguf.chunks.WEIGHTS", 5000)
    quantize(f16, tmp_path / "many.gguf", ftype="Q5_0", threads=4)
    assert (tmp_path / "one.gguf").read_bytes() == (tmp_path / "many.gguf").read_bytes()


def test_later_rules_win(f16: Path, tmp_path: Path) -> None:
    rules = {r"ffn_.*\.weight": "Q8_0", r"blk\.0\.ffn_down": "q4_k", "token_embd": "F16"}
    quantize(f16, tmp_path / "q.gguf", ftype=TypeRequest.of("Q4_0", tensor_types=rules))
    types = types_of(tmp_path / "q.gguf")
    assert types["blk.0.ffn_down.weight"] == "Q4_K"
    assert types["blk.1.ffn_down.weight"] == "Q8_0"
    assert types["blk.0.attn_q.weight"] == "Q4_0"
    assert types["token_embd.weight"] == "F16"
    assert types["blk.0.ffn_norm.weight"] == "F32"


def test_what_falls_back_is_noted(f32: Path, tmp_path: Path) -> None:
    note = (
        "Q4_K_M: 0 of 36 matrices are Q4_K (28 are Q5_0, 5 F16, 3 Q8_0); "
        "35 have rows of 64 or 172 weights, no multiple of 256"
    )
    assert quantize(f32, tmp_path / "q.gguf", ftype="Q4_K_M").notes == (note,)
    assert inspect(tmp_path / "q.gguf")["notes"] == [note]
    assert quantize(f32, tmp_path / "q.gguf", ftype="F16").notes == ()
    assert inspect(tmp_path / "q.gguf")["notes"] == []


def test_rules_that_rows_do_not_fit(f32: Path, tmp_path: Path) -> None:
    message = (
        r"tensor_types\['ffn_up'\]: Q6_K is stored in blocks of 256 weights, and 'blk.0.ffn_up"
    )
    with pytest.raises(errors.RecipeError, match=message):
        quantize(
            f32, tmp_path / "q.gguf", ftype=TypeRequest.of("Q8_0", tensor_types={"ffn_up": "Q6_K"})
        )


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"ffn_dwon": "Q8_0"}, r"tensor_types\['ffn_dwon'\] matches no tensor"),
        (
            {"up": "Q4_0", "gate": "Q8_0", "ffn_(up|gate)": "Q5_0"},
            r"tensor_types\['up'\] has no effect beside tensor_types\['ffn_\(up\|gate\)'\], which",
        ),
        ({"_norm": "Q8_0"}, r"tensor_types\['_norm'\] matches no tensor that can be quantized"),
        ({"(": "Q8_0"}, r"tensor_types\['\('\]: no regular expression"),
        ({"ffn": "Q8"}, r"tensor_types\['ffn'\]: 'Q8' is no ggml tensor type; did you mean"),
    ],
)
def test_rules_that_are_wrong(
    f32: Path, tmp_path: Path, rules: dict[str, str], message: str
) -> None:
    with pytest.raises(errors.RecipeError, match=message):
        quantize(f32, tmp_path / "q.gguf", ftype=TypeRequest.of("Q8_0", tensor_types=rules))


def test_types_that_need_an_importance_matrix(f16: Path, tmp_path: Path) -> None:
    wanted = TypeRequest.of("Q8_0", tensor_types={"ffn": "IQ2_XXS"})
    with pytest.raises(
        errors.RecipeError, match=r"'blk.0.ffn_down.weight' IQ2_XXS.*, which is garb"
    ):
        quantize(f16, tmp_path / "q.gguf", ftype=wanted)
    for name in ("Q2_K_S", "IQ1_M", "IQ3_XXS"):
        with pytest.raises(errors.RecipeError, match=rf"{name} makes tensor .* quantize.imatrix"):
            quantize(f16, tmp_path / "q.gguf", ftype=name)
    assert list(tmp_path.iterdir()) == []


def test_quantizing_twice_is_refused(f16: Path, tmp_path: Path) -> None:
    quantize(f16, tmp_path / "q8.gguf", ftype="Q8_0")
    with pytest.raises(errors.CheckpointError, match=r"q8.gguf: tensor .* is already Q8_0"):
        quantize(tmp_path / "q8.gguf", tmp_path / "q4.gguf", ftype="Q4_0")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weight_that_is_no_number(f32: Path, tmp_path: Path, value: float) -> None:
    source = tmp_path / "model.gguf"
    source.write_bytes(f32.read_bytes())
    tensor = reader.read(source).tensors["blk.3.attn_v.weight"]
    with source.open("r+b") as file:
        file.seek(tensor.offset + 4 * (64 * 2 + 7))
        file.write(np.float32(value).tobytes())
    with pytest.raises(
        errors.CheckpointError,
        match=rf"{source}: tensor 'blk.3.attn_v.weight': .*row 2, column 7 is {value}",
    ):
        quantize(source, tmp_path / "q.gguf", ftype="Q8_0")
    assert not (tmp_path / "q.gguf").exists()


def test_split_files_are_refused(f32: Path, tmp_path: Path) -> None:
    from qpipe.gguf import stream, values
    from qpipe.gguf.chunks import OutputTensor
    from qpipe.gguf.rows import GGUFRows

    file = reader.read(f32)
    outputs = [
        OutputTensor(t.name, t.shape, t.type, GGUFRows(file, t)) for t in file.tensors.values()
    ]
    metadata = file.metadata | {"split.count": values.u32(2)}
    stream.write([stream.OutputFile(tmp_path / "s.gguf", metadata, outputs)])
    with pytest.raises(errors.CheckpointError, match="one part of a split GGUF model"):
        quantize(tmp_path / "s.gguf", tmp_path / "q.gguf", ftype="Q8_0")


def test_integer_tensors_are_copied(f32: Path, tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "i.gguf", "llama")
    writer.add_tensor("table.ids", np.arange(40, dtype=np.int32).reshape(4, 10))
    writer.add_tensor("x.weight", np.ones((4, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    quantize(tmp_path / "i.gguf", tmp_path / "q.gguf", ftype="Q8_0")
    theirs = {t.name: t for t in gguf.GGUFReader(tmp_path / "q.gguf").tensors}
    assert theirs["table.ids"].data.reshape(-1).tolist() == list(range(40))
    assert theirs["x.weight"].tensor_type.name == "Q8_0"


def test_truncated(f32: Path, tmp_path: Path) -> None:
    data = f32.read_bytes()
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(data[:-500])
    with pytest.raises(errors.CheckpointError, match=rf"cut.gguf.*ends after {len(data) - 500}"):
        reader.read(cut)
    cut.write_bytes(data[:3000])
    with pytest.raises(errors.CheckpointError, match="in the middle of its header"):
        reader.read(cut)
    cut.write_bytes(data[:10])
    with pytest.raises(errors.CheckpointError, match="too short for a header"):
        reader.read(cut)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_damage_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, f32: Path, data: st.DataObject
) -> None:
    """Bytes of the header changed or cut off: nothing but CheckpointError comes out."""
    content = bytearray(f32.read_bytes())
    header = reader.read(f32).tensors["token_embd.weight"].offset
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, header - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("d") / "x.gguf"
    path.write_bytes(content[: data.draw(st.sampled_from([len(content), header, header // 2]))])
    try:
        file = reader.read(path)
    except errors.CheckpointError:
        return
    for tensor in file.tensors.values():
        assert file.data(tensor).nbytes == tensor.nbytes


def test_llama_cpp_loads_every_file(f32: Path, f16: Path, tmp_path: Path) -> None:
    from qpipe.llamacpp.model import Model

    for source in (f32, f16):
        for ftype in ("BF16", "Q8_0", "Q5_0", "Q5_1", "Q4_0", "Q4_1"):
            quantize(source, tmp_path / "q.gguf", ftype=ftype)
            with Model(tmp_path / "q.gguf") as model:
                assert ftype in model.describe()


def experts(path: Path) -> Path:
    """A file such as llama.cpp's converter makes of gpt-oss: experts in MXFP4, the rest in BF16."""
    from gguf import GGMLQuantizationType as Kind

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_head_count(1)
    writer.add_expert_count(2)
    writer.add_file_type(32)
    rows = np.random.default_rng(1).standard_normal((2, 64, 256)).astype(np.float32)
    packed = gguf.quants.quantize(rows, Kind.MXFP4)
    writer.add_tensor("blk.0.ffn_up_exps.weight", packed, raw_dtype=Kind.MXFP4)
    writer.add_tensor("blk.0.attn_q.weight", rows[0])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_experts_that_are_published_in_mxfp4_stay_so(tmp_path: Path) -> None:
    source, out = experts(tmp_path / "m.gguf"), tmp_path / "q.gguf"
    for ftype, kind in (("Q8_0", "Q8_0"), ("F16", "F16"), ("MXFP4_MOE", "Q8_0")):
        done = quantize(source, out, ftype=ftype)
        wanted = {"blk.0.ffn_up_exps.weight": "MXFP4", "blk.0.attn_q.weight": kind}
        assert types_of(out) == wanted
        assert [note.startswith("1 tensors of experts are MXFP4") for note in done.notes] == [True]
        read = [reader.read(path) for path in (source, out)]
        one, other = (file.data(file.tensors["blk.0.ffn_up_exps.weight"]) for file in read)
        assert one.tobytes() == other.tobytes()
    with pytest.raises(errors.CheckpointError, match="is already MXFP4; quantizing twice"):
        quantize(source, out, ftype=TypeRequest.of("Q8_0", tensor_types={"_exps": "Q4_0"}))
