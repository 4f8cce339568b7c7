"""The safetensors reader: whatever is wrong with a file, one clear error."""

from __future__ import annotations

import itertools
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qpipe import errors
from qpipe.gguf import safetensors
from tests.gguf import samples

TWO = {
    "a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
    "b": {"dtype": "BF16", "shape": [3], "data_offsets": [16, 22]},
}


def write(path: Path, header: Any, data: bytes = bytes(22)) -> Path:
    samples.write_raw(path, json.dumps(header).encode(), data)
    return path


def test_reads_what_is_sound(tmp_path: Path) -> None:
    path = write(tmp_path / "x.safetensors", {"__metadata__": {"format": "pt"}} | TWO)
    found = safetensors.read_header(path)
    assert list(found) == ["a", "b"]
    assert (found["b"].dtype, found["b"].shape, found["b"].nbytes) == ("BF16", (3,), 6)
    assert found["b"].offset + 6 == path.stat().st_size


def changed(name: str, **fields: Any) -> dict[str, Any]:
    entry = TWO[name] | fields
    return TWO | {name: {key: value for key, value in entry.items() if value is not ...}}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (changed("a", shape=[2, 3]), r"'a' is F32 \[2, 3\], so 24 bytes, .* span 16"),
        (changed("a", dtype=...), r"'a' has the unknown dtype None"),
        (changed("a", shape=[-2, -2]), r"'a' has the shape \[-2, -2\]"),
        (changed("a", shape=[True, 4]), r"'a' has the shape \[True, 4\]"),
        (changed("a", data_offsets=[16, 0]), r"'a' has the data_offsets \[16, 0\]"),
        (changed("a", data_offsets=[0]), r"'a' has the data_offsets \[0\]"),
        (changed("b", data_offsets=[8, 14]), r"'b' overlaps .* byte 8 .* instead of 16"),
        (changed("b", data_offsets=[18, 24]), r"'b' leaves a gap.* byte 18 .* instead of 16"),
        ({"a": TWO["a"]}, r"6 bytes follow the last tensor"),
        (TWO | {"a": 7}, r"'a' is described by 7"),
        ([1, 2], r"header is no JSON object \(it holds a list"),
    ],
)
def test_names_what_contradicts(tmp_path: Path, header: Any, message: str) -> None:
    path = write(tmp_path / "x.safetensors", header)
    with pytest.raises(errors.CheckpointError, match=message) as caught:
        safetensors.read_header(path)
    assert str(caught.value).startswith(str(path))
    assert "download it again" in str(caught.value)


def test_a_dtype_of_tomorrow_is_no_damage(tmp_path: Path) -> None:
    path = write(tmp_path / "x.safetensors", changed("a", dtype="F31"))
    with pytest.raises(errors.CheckpointError, match=r"unknown dtype 'F31'; a newer") as caught:
        safetensors.read_header(path)
    assert "download" not in str(caught.value)


@pytest.mark.parametrize(
    ("dtype", "shape", "nbytes"),
    [("F4", [4, 3], 6), ("F6_E2M3", [4], 3), ("F6_E3M2", [8], 6), ("F8_E4M3FNUZ", [3], 3),
     ("F8_E5M2FNUZ", [2], 2), ("C64", [2], 16)],
)  # fmt: skip
def test_every_dtype_of_the_format_has_a_size(
    tmp_path: Path, dtype: str, shape: list[int], nbytes: int
) -> None:
    header = {"a": {"dtype": dtype, "shape": shape, "data_offsets": [0, nbytes]}}
    path = write(tmp_path / "x.safetensors", header, bytes(nbytes))
    assert safetensors.read_header(path)["a"].nbytes == nbytes


def test_half_a_byte_is_no_size(tmp_path: Path) -> None:
    header = {"a": {"dtype": "F4", "shape": [3], "data_offsets": [0, 1]}}
    with pytest.raises(errors.CheckpointError, match="no whole number of bytes"):
        safetensors.read_header(write(tmp_path / "x.safetensors", header, bytes(1)))


def test_a_pointer_of_git_lfs_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{0:064}\nsize 9\n")
    with pytest.raises(errors.CheckpointError, match="git lfs pull"):
        safetensors.read_header(path)


def test_truncated(tmp_path: Path) -> None:
    path = write(tmp_path / "x.safetensors", TWO, bytes(20))
    size = path.stat().st_size
    with pytest.raises(errors.CheckpointError, match=rf"truncated: .*'b' .* ends after {size}"):
        safetensors.read_header(path)


def test_duplicate_tensor(tmp_path: Path) -> None:
    entry = json.dumps(TWO["a"])
    samples.write_raw(tmp_path / "x", f'{{"a": {entry}, "a": {entry}}}'.encode(), bytes(16))
    with pytest.raises(errors.CheckpointError, match="the key 'a' appears twice"):
        safetensors.read_header(tmp_path / "x")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "only 0 bytes"),
        (b"1234567", "only 7 bytes"),
        (struct.pack("<Q", 1 << 60) + b"{}", "claims 1152921504606846976 bytes, the file has 10"),
        (struct.pack("<Q", 2) + b"\xff\xfe", "no JSON object"),
        (struct.pack("<Q", 100_000) + b"[" * 100_000, "nested too deeply|no JSON object"),
    ],
)
def test_no_header(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(errors.CheckpointError, match=message):
        safetensors.read_header(tmp_path / "x.safetensors")


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(errors.CheckpointError, match="missing"):
        safetensors.read_header(tmp_path / "x.safetensors")


def read_or_refuse(path: Path) -> None:
    """Nothing but CheckpointError may come out, and what is accepted fills the file exactly."""
    try:
        found = safetensors.read_header(path)
    except errors.CheckpointError:
        return
    ends = sorted((t.offset, t.offset + t.nbytes) for t in found.values())
    assert all(end == start for (_, end), (start, _) in itertools.pairwise(ends))
    assert not ends or ends[-1][1] == path.stat().st_size


entries = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["F32", "BF16", "U8", "F4", 3, None]),
        "shape": st.one_of(st.lists(st.integers(-1, 5), max_size=3), st.none(), st.text()),
        "data_offsets": st.one_of(st.lists(st.integers(-1, 40), max_size=3), st.none()),
    },
)


@settings(deadline=None)
@given(header=st.dictionaries(st.text(max_size=3), entries, max_size=4), size=st.integers(0, 40))
def test_any_header_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, header: dict[str, Any], size: int
) -> None:
    read_or_refuse(write(tmp_path_factory.mktemp("h") / "x", header, bytes(size)))


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_damage_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = write(tmp_path_factory.mktemp("d") / "x", TWO)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    read_or_refuse(path)
