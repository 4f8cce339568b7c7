"""GGUF headers that contradict themselves: one message each."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from qpipe import errors
from qpipe.gguf import reader, values

F32, Q8_0 = 0, 8
ARCH = ("general.architecture", values.string("llama"))


def text(raw: bytes) -> bytes:
    return values.pack_string(raw)


def tensor(name: bytes, dims: tuple[int, ...], kind: int, offset: int) -> bytes:
    return text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


A = tensor(b"a", (8, 2), F32, 0)
B = tensor(b"b", (32,), Q8_0, 64)


def write(path: Path, metadata: list[tuple[str, bytes]], tensors: list[bytes]) -> Path:
    header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    header += b"".join(text(key.encode()) + value for key, value in metadata) + b"".join(tensors)
    path.write_bytes(header + bytes(-len(header) % 32) + bytes(64 + 34))
    return path


def test_sound(tmp_path: Path) -> None:
    file = reader.read(write(tmp_path / "x.gguf", [ARCH], [A, B]))
    assert {t.name: (t.shape, t.type.name, t.nbytes) for t in file.tensors.values()} == {
        "a": ((2, 8), "F32", 64),
        "b": ((32,), "Q8_0", 34),
    }
    assert file.tensors["b"].n_weights == 32
    assert file.architecture == "llama"
    with pytest.raises(errors.CheckpointError, match=r"no metadata key 'x.y'"):
        file.value("x.y")


@pytest.mark.parametrize(
    ("metadata", "tensors", "message"),
    [
        ([ARCH, ARCH], [A, B], r"metadata 'general.architecture' appears twice"),
        ([("k", struct.pack("<I", 99))], [A, B], r"metadata 'k' has 99 is not a valid"),
        ([("k", struct.pack("<IIQ", 9, 9, 1))], [A, B], r"metadata 'k' has an array of arrays"),
        ([("general.alignment", values.u32(24))], [A, B], r"alignment is 24, no power of two"),
        ([("general.alignment", values.string("x"))], [A, B], r"alignment is 'x', no power"),
        ([ARCH], [A, tensor(b"a", (32,), Q8_0, 64)], r"tensor 'a' appears twice"),
        ([ARCH], [A, tensor(b"b", (), F32, 64)], r"tensor 'b' has 0 dimensions"),
        ([ARCH], [A, tensor(b"b", (1,) * 5, F32, 64)], r"tensor 'b' has 5 dimensions"),
        ([ARCH], [A, tensor(b"b", (32,), 77, 64)], r"tensor 'b' has the unknown type number 77"),
        ([ARCH], [A, tensor(b"b", (31,), Q8_0, 64)], r"'b' of type Q8_0 cannot have .* \(31,\)"),
        ([ARCH], [A, tensor(b"b", (32, 0), Q8_0, 64)], r"cannot have the shape \(0, 32\)"),
        ([ARCH], [A, tensor(b"b", (32,), Q8_0, 32)], r"'b' starts at byte 32 .*instead of 64"),
        ([ARCH], [A, tensor(b"b", (64,), Q8_0, 64)], r"'b' needs bytes .* but the file ends"),
        ([ARCH], [A, tensor(b"\xff", (32,), Q8_0, 64)], r"name of tensor 1 of 2 is no UTF-8"),
        ([("k", struct.pack("<IQ", 8, 1 << 40))], [A, B], r"in the middle of its header"),
        ([("k", struct.pack("<IIQ", 9, 4, 1 << 62))], [A, B], r"in the middle of its header"),
        ([("k", struct.pack("<IIQ", 9, 8, 10**8))], [A, B], r"an array of 100,000,000 texts, more"),
        ([ARCH], [A, tensor(b"b" * 999, (), F32, 64)], r"'bbb.*bb' \(1,001 characters\) has 0 dim"),
        ([("general.alignment", values.f32s([1] * 9))], [A, B], r"alignment is \[1.0\], no power"),
    ],
)
def test_contradictions(
    tmp_path: Path, metadata: list[tuple[str, bytes]], tensors: list[bytes], message: str
) -> None:
    path = write(tmp_path / "x.gguf", metadata, tensors)
    with pytest.raises(errors.CheckpointError, match=message) as caught:
        reader.read(path)
    assert str(caught.value).startswith(f"{path}: not a usable GGUF file: ")


@pytest.mark.parametrize("value", [values.u32(3), values.strings([b"llama"]), values.f32(1.0)])
def test_fields_that_all_files_have_are_of_their_type(tmp_path: Path, value: bytes) -> None:
    file = reader.read(write(tmp_path / "x.gguf", [("general.architecture", value)], [A, B]))
    with pytest.raises(errors.CheckpointError, match=r"general.architecture is .*, no name"):
        _ = file.architecture
    wrong = values.string("7") if value == values.u32(3) else value
    file = reader.read(write(tmp_path / "x.gguf", [("general.file_type", wrong)], [A, B]))
    with pytest.raises(errors.CheckpointError, match=r"general.file_type is .*, no number"):
        _ = file.file_type


def test_metadata_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_METADATA", 1000)
    metadata = [ARCH, ("a", values.f32s([1.0] * 100)), ("b", values.f32s([1.0] * 200))]
    reader.read(write(tmp_path / "x.gguf", metadata[:2], [A, B]))
    with pytest.raises(errors.CheckpointError, match=r"metadata takes more than 1,000 bytes"):
        reader.read(write(tmp_path / "x.gguf", metadata, [A, B]))


@pytest.mark.parametrize(("tensors", "fields"), [(1 << 21, 1), (1, 1 << 21), (1 << 63, 1)])
def test_more_entries_than_any_model_has(tmp_path: Path, tensors: int, fields: int) -> None:
    path = write(tmp_path / "x.gguf", [ARCH], [A, B])
    data = path.read_bytes()
    path.write_bytes(data[:8] + struct.pack("<QQ", tensors, fields) + data[24:])
    with pytest.raises(
        errors.CheckpointError, match=r"it claims [0-9,]+ (tensors|metadata fields)"
    ):
        reader.read(path)


def test_unreadable(tmp_path: Path) -> None:
    with pytest.raises(errors.CheckpointError, match="cannot be read: No such file"):
        reader.read(tmp_path / "x.gguf")
