"""Importance matrices: both formats, what they weigh, what is said of their gaps."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt
import pytest

from qpipe import errors
from qpipe.gguf import ggml, imatrix, reader, values
from qpipe.gguf.mixture import TypeRequest
from qpipe.gguf.quantize import quantize
from qpipe.gguf.types import GGMLType
from tests.gguf import samples

Gguf = Callable[[str, str], Path]
Floats = npt.NDArray[np.float32]


def write_gguf(path: Path, entries: Mapping[str, tuple[Floats, list[float]]]) -> Path:
    """{tensor: (sums [matrices, columns], counts)} by the gguf package, as llama-imatrix does."""
    writer = gguf.GGUFWriter(path, "none")
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", ["/somewhere/calibration.txt", "more.txt"])
    writer.add_uint32("imatrix.chunk_count", 7)
    writer.add_uint32("imatrix.chunk_size", 512)
    for name, (sums, counts) in entries.items():
        writer.add_tensor(f"{name}.in_sum2", sums.astype(np.float32))
        writer.add_tensor(f"{name}.counts", np.array(counts, np.float32)[:, None])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_dat(path: Path, entries: Mapping[str, tuple[int, Floats]], *, tail: bytes = b"") -> Path:
    """{tensor: (calls, sums)} in the old format."""
    parts = [struct.pack("<i", len(entries))]
    for name, (calls, sums) in entries.items():
        encoded = name.encode()
        parts.append(struct.pack(f"<i{len(encoded)}sii", len(encoded), encoded, calls, sums.size))
        parts.append(sums.astype("<f4").tobytes())
    path.write_bytes(b"".join(parts) + tail)
    return path


def test_gguf_weights_are_sums_over_counts(tmp_path: Path) -> None:
    sums = np.array([[3, 6, 9], [5, 5, 5], [1, 2, 4]], np.float32)
    path = write_gguf(tmp_path / "m.gguf", {"blk.0.ffn_up_exps.weight": (sums, [3, 0, 2])})
    found = imatrix.read(path)
    weights = found.of("blk.0.ffn_up_exps.weight", (3, 10, 3))
    assert weights is not None
    # An expert that no token reached weighs its columns alike.
    assert weights.tolist() == [[1, 2, 3], [1, 1, 1], [0.5, 1, 2]]
    assert found.unseen == {"blk.0.ffn_up_exps.weight": (1,)}
    assert found.of("blk.1.ffn_up_exps.weight", (3, 10, 3)) is None
    assert values.decoded(found.metadata()) == {
        "quantize.imatrix.file": "m.gguf",
        "quantize.imatrix.dataset": "calibration.txt",
        "quantize.imatrix.entries_count": 1,
        "quantize.imatrix.chunks_count": 7,
    }


@pytest.mark.parametrize(
    ("tail", "noted"),
    [
        (b"", {}),
        (struct.pack("<i", 40), {"quantize.imatrix.chunks_count": 40}),
        (struct.pack("<ii8s", 40, 8, b"a\\b/text"),
         {"quantize.imatrix.dataset": "text", "quantize.imatrix.chunks_count": 40}),
    ],
)  # fmt: skip
def test_dat_weights_are_sums_over_calls(tmp_path: Path, tail: bytes, noted: object) -> None:
    sums = np.array([2, 4, 8], np.float32)
    path = write_dat(tmp_path / "m.dat", {"a.weight": (4, sums), "b": (0, sums)}, tail=tail)
    found = imatrix.read(path)
    assert {name: w.tolist() for name, w in found.weights.items()} == {
        "a.weight": [0.5, 1, 2],
        "b": [2, 4, 8],
    }
    known = {"quantize.imatrix.file": "m.dat", "quantize.imatrix.entries_count": 2}
    metadata = values.decoded(found.metadata())
    assert metadata == known | dict(noted)  # type: ignore[call-overload]


@pytest.mark.parametrize("chunks", [values.string("7"), values.f32(7.0), values.i32s([7]),
    values.encode(1 << 40, values.ValueType.UINT64), values.encode(-1, values.ValueType.INT32),
])  # fmt: skip
def test_a_number_of_chunks_that_is_none(tmp_path: Path, chunks: bytes) -> None:
    path = write_gguf(tmp_path / "m.gguf", {"a.weight": (np.ones((1, 3), np.float32), [1])})
    field = values.pack_string(b"imatrix.chunk_count")
    data = path.read_bytes()
    at = data.index(field) + len(field)
    name = field.replace(b"imatrix.chunk_count", b"imatrix.chunk_other")
    data = data[:24] + field + chunks + data[24 : at - len(field)] + name + data[at:]
    path.write_bytes(
        data[:16] + struct.pack("<Q", struct.unpack_from("<Q", data, 16)[0] + 1) + data[24:]
    )
    with pytest.raises(errors.DataError, match=r"imatrix.chunk_count is .*, no number of chunks"):
        imatrix.read(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_sums_that_are_no_numbers(tmp_path: Path, bad: float) -> None:
    """Named, without a word of numpy's on the way."""
    sums = np.array([2, bad, 8], np.float32)
    for path in (
        write_dat(tmp_path / "m.dat", {"a": (4, sums)}),
        write_gguf(tmp_path / "m.gguf", {"a": (sums[None], [4])}),
        write_gguf(tmp_path / "c.gguf", {"a": (np.full((1, 3), 3e38, np.float32), [np.inf])}),
        write_gguf(tmp_path / "i.gguf", {"a": (np.full((1, 3), np.inf, np.float32), [np.inf])}),
    ):
        if path.name == "c.gguf":
            assert imatrix.read(path).weights["a"].tolist() == [0, 0, 0]
            continue
        with pytest.raises(errors.DataError, match="a weight for tensor 'a' is no finite number"):
            imatrix.read(path)


def test_both_formats_quantize_alike(gguf_of: Gguf, tmp_path: Path) -> None:
    """The golden matrix, turned into the old format, gives the golden tensors."""
    source, matrix = gguf_of("stories260K", "F32"), samples.imatrix_of("stories260K")
    weights = imatrix.read(matrix).weights
    old = write_dat(tmp_path / "old.dat", {name: (1, w) for name, w in weights.items()})
    quantize(source, tmp_path / "q.gguf", ftype="Q4_0", imatrix=old)
    wanted = samples.golden_rows("stories260K", "Q4_0", again=True, imatrix="imatrix")
    assert sorted(samples.rows_of(tmp_path / "q.gguf")) == sorted(wanted)


def test_the_name_of_a_folder_leaves_no_trace(gguf_of: Gguf, tmp_path: Path) -> None:
    source, matrix = gguf_of("stories260K", "F32"), samples.imatrix_of("stories260K")
    moved = tmp_path / "elsewhere" / matrix.name
    moved.parent.mkdir()
    moved.write_bytes(matrix.read_bytes())
    for file, out in ((matrix, "a"), (moved, "b")):
        quantize(source, tmp_path / out, ftype="Q5_1", imatrix=file)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def experts_model(path: Path, rows: Floats) -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_expert_count(len(rows))
    writer.add_tensor("blk.0.ffn_up_exps.weight", rows)
    writer.add_tensor("blk.0.ffn_down_exps.weight", rows)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("kind", ["Q4_K", "IQ2_XS", "Q5_0"])
def test_each_expert_has_weights_of_its_own(
    kind: str, threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where chunks end within an expert; what lacks an entry or tokens is told by name."""
    monkeypatch.setattr("qpipe.gguf.chunks.WEIGHTS", 3 * 256)
    random = np.random.default_rng(5)
    rows = random.standard_normal((3, 8, 256), np.float32)
    sums = random.gamma(0.5, size=(3, 256)).astype(np.float32)
    source = experts_model(tmp_path / "moe.gguf", rows)
    matrix = write_gguf(tmp_path / "m.gguf", {"blk.0.ffn_up_exps.weight": (sums, [4, 2, 0])})
    # What needs a matrix is refused where it has no entry: ffn_down stays out of it.
    wanted = TypeRequest.of("Q4_0", tensor_types={"ffn_up": kind, "ffn_down": "Q4_1"})
    done = quantize(source, tmp_path / "q.gguf", ftype=wanted, imatrix=matrix, threads=threads)
    file = reader.read(tmp_path / "q.gguf")
    weights = [sums[0] / 4, sums[1] / 2, np.ones(256, np.float32)]
    expected = [
        ggml.quantize(rows[i], GGMLType[kind], imatrix=weights[i].astype(np.float32))
        for i in range(3)
    ]
    written = file.data(file.tensors["blk.0.ffn_up_exps.weight"])
    assert written.tobytes() == b"".join(part.tobytes() for part in expected)
    missing, unseen = done.notes
    assert missing.endswith("1 of 2 tensors have no entry and were quantized without: "
                            "blk.0.ffn_down_exps.weight")  # fmt: skip
    assert "no calibration token reached 1 of 3 matrices of blk.0.ffn_up_exps.weight" in unseen
    assert unseen.endswith(": 2")


def test_entries_that_are_missing_or_do_not_fit(gguf_of: Gguf, tmp_path: Path) -> None:
    source, out = gguf_of("tinystories-d256", "F16"), tmp_path / "q.gguf"
    entries = {
        name: (weights[None, :], [1.0])
        for name, weights in imatrix.read(samples.imatrix_of("tinystories-d256")).weights.items()
    }
    del entries["blk.2.attn_q.weight"]
    # Token embeddings are no business of a matrix: one of a wrong size is passed over.
    entries["token_embd.weight"] = (np.ones((1, 7), np.float32), [1.0])
    partial = write_gguf(tmp_path / "partial.gguf", entries)
    message = r"partial.gguf: no entry for 1 tensors, .*'blk.2.attn_q.weight'.* text does not help"
    with pytest.raises(errors.DataError, match=message) as refused:
        quantize(source, out, ftype="IQ2_XXS", imatrix=partial)
    rules = re.search(r"'quantize.tensor_types=(\[\[.*\]\])'", str(refused.value))
    assert rules and rules[1] == '[["^blk.(2).attn_q.weight$", Q4_K]]'
    way_out = TypeRequest.of("IQ2_XXS", tensor_types={"^blk.(2).attn_q.weight$": "Q4_K"})
    assert quantize(source, out, ftype=way_out, imatrix=partial).types[
        "blk.2.attn_q.weight"
    ].name == ("Q4_K")
    done = quantize(source, out, ftype="Q4_K_S", imatrix=partial)
    assert [note.rpartition(": ")[2] for note in done.notes] == ["blk.2.attn_q.weight"]
    assert quantize(source, out, ftype="Q8_0", imatrix=partial).notes == ()
    out.unlink()
    entries["blk.1.ffn_up.weight"] = (np.ones((1, 99), np.float32), [1.0])
    with pytest.raises(errors.DataError, match=r"99 weights for tensor 'blk.1.ffn_up.weight', whi"):
        quantize(source, out, ftype="Q4_0", imatrix=write_gguf(tmp_path / "w.gguf", entries))
    alien = write_gguf(tmp_path / "alien.gguf", {"x": (np.ones((1, 9), np.float32), [1.0])})
    with pytest.raises(errors.DataError, match=r"no entry for any of the 28 tensors"):
        quantize(source, out, ftype="Q4_0", imatrix=alien)
    assert not out.exists()


def test_embeddings_in_types_that_cannot_do_without(gguf_of: Gguf, tmp_path: Path) -> None:
    """llama-quantize lets embeddings pass, and ggml would then abort the process."""
    wanted = TypeRequest.of("Q4_0", token_embedding_type="IQ2_XXS")
    with pytest.raises(errors.RecipeError, match=r"'token_embd.weight' IQ2_XXS, which is garbage"):
        quantize(gguf_of("tinystories-d256", "F16"), tmp_path / "q.gguf", ftype=wanted)


def test_files_that_are_no_importance_matrix(gguf_of: Gguf, tmp_path: Path) -> None:
    path = tmp_path / "m"
    sums = np.ones((2, 3), np.float32)

    def refused(message: str) -> None:
        with pytest.raises(errors.DataError, match=message):
            imatrix.read(path)

    refused("m: cannot be read: No such file")
    path.write_bytes(gguf_of("stories260K", "F32").read_bytes())
    refused(r"no importance matrix: it lacks 'imatrix.datasets'")
    write_gguf(path, {"a": (sums, [1.0, 2.0, 3.0, 4.0])})
    refused("6 sums of tensor 'a' do not divide among 4 counts")
    write_gguf(path, {"a": (sums * np.float32(np.inf), [1.0, 1.0])})
    refused("a weight for tensor 'a' is no finite number")
    whole = write_dat(path, {"a.weight": (1, sums)}).read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        refused(f"neither GGUF nor .dat: it ends after {end} bytes")
    path.write_bytes(b"\0\0\0\0" + whole[4:])
    refused("it starts with 0 as the number of its tensors")
    path.write_bytes(b"\n# A licence\nNobody may share it.\n")
    refused(r"it is a text, and begins with b'\\n# A licence\\nNobody may '")
    write_dat(path, {"a.weight": (1, np.ones(0, np.float32))})
    refused("tensor 'a.weight' has 0 values")
    path.write_bytes(whole[:8] + b"\xff" + whole[9:])
    refused("a name is no UTF-8")


def with_a_further_layer(path: Path) -> Path:
    """A model of one layer, and one behind it that predicts further tokens."""
    writer = gguf.GGUFWriter(path, "qwen35")
    writer.add_block_count(2)
    writer.add_nextn_predict_layers(1)
    writer.add_head_count(1)
    writer.add_file_type(1)
    for layer in range(2):
        rows = np.random.default_rng(layer).standard_normal((64, 256)).astype(np.float16)
        writer.add_tensor(f"blk.{layer}.attn_q.weight", rows)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_layers_that_no_matrix_can_know_have_a_type_that_needs_none(tmp_path: Path) -> None:
    """llama-quantize refuses Qwen3.5 with its layer that predicts further tokens in IQ2_M."""
    model, out = with_a_further_layer(tmp_path / "m.gguf"), tmp_path / "q.gguf"
    entry = (np.ones((1, 256), np.float32), [4.0])
    some = write_gguf(tmp_path / "some.gguf", {"blk.0.attn_q.weight": entry})
    all_of_it = {f"blk.{i}.attn_q.weight": entry for i in range(2)}
    whole = write_gguf(tmp_path / "all.gguf", all_of_it)

    done = quantize(model, out, ftype="IQ2_XS", imatrix=some)
    assert [kind.name for kind in done.types.values()] == ["IQ2_XS", "Q4_K"]
    assert "1 tensors of layers that predict further tokens are Q4_K" in done.notes[0]
    done = quantize(model, out, ftype="IQ2_XS", imatrix=whole)
    assert [kind.name for kind in done.types.values()] == ["IQ2_XS", "IQ2_XS"]
    with pytest.raises(errors.RecipeError, match="garbage without an importance matrix"):
        quantize(model, out, ftype="IQ2_XS")
    rule = TypeRequest.of("IQ2_XS", tensor_types={"blk.1": "IQ2_XS"})
    with pytest.raises(errors.DataError, match=r"no entry for 1 tensors, such as 'blk\.1\."):
        quantize(model, out, ftype=rule, imatrix=some)
