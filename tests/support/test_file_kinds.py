"""What a file is, by its first bytes."""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path

import pytest

from qpipe.errors import UsageError
from qpipe.support.file_kinds import GGUF, REFERENCE_FILE, kind_of


def safetensors(metadata: dict[str, str]) -> bytes:
    header = json.dumps({"__metadata__": metadata}).encode()
    return struct.pack("<Q", len(header)) + header


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"GGUF\x03\0\0\0", GGUF),
        (safetensors({"format": "pt"}), "safetensors by its content"),
        (safetensors({"format": "qpipe.reference/1"}), REFERENCE_FILE),
        (b"# Read me\n\xc3\xa9", "a text"),
        (b"caf\xc3", "a text"),  # a character cut short
        (b"{}", "JSON"),
        (b"<!doctype html><html>", "a web page"),
        (b"\x80\x04\x95", "a pickle"),
        (b"\x1f\x8b\x08", "compressed: unpack it"),
        (bytes(64), "in no form that qpipe knows"),
        (b"version https://git-lfs.github.com/spec/v1\n",
         "a pointer of git LFS (`git lfs pull` fetches the file)"),
    ],
)  # fmt: skip
def test_a_file_is_called_what_it_is(data: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(data)
    assert kind_of(tmp_path / "x", UsageError) == words


def test_what_torch_saves_is_a_zip_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x", "w") as archive:
        archive.writestr("x/data.pkl", b"")
    assert kind_of(tmp_path / "x", UsageError) == "a zip archive, or a pickle of torch's"


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        kind_of(tmp_path, UsageError)
