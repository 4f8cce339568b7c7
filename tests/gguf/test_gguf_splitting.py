"""A GGUF model in parts: read back as the very file, by llama.cpp too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf as package
import pytest

from qpipe.errors import UsageError
from qpipe.gguf import quantize, split
from qpipe.gguf.splitting import Parts, joined_sha256
from qpipe.llamacpp.model import Model
from qpipe.support import hashing
from qpipe.support.hashing import Sealed

GgufOf = Callable[[str, str], Path]


@pytest.fixture
def whole(gguf_of: GgufOf) -> Path:
    return gguf_of("stories260K", "Q8_0")


def written(whole: Path, folder: Path, most: int) -> list[Path]:
    folder.mkdir()
    seals: dict[Path, Sealed] = {}
    told: list[tuple[int, int]] = []
    parts = Parts(whole, most).write(
        lambda number, count: folder / f"m-{number:05d}-of-{count:05d}.gguf",
        sealed=seals.__setitem__,
        progress=lambda done, total: told.append((done, total)),
    )
    for part in parts:
        assert seals[part].sha256 == hashing.of_file(part)
    assert told == sorted(told) and told[-1][0] == told[-1][1]
    return parts


@pytest.mark.parametrize("most", [60_000, 100_000, 200_000])
def test_parts_are_the_very_file(whole: Path, tmp_path: Path, most: int) -> None:
    parts = written(whole, tmp_path / "m", most)
    larger = [n for n, part in enumerate(parts, 1) if part.stat().st_size > most]
    assert len(parts) > 1
    assert Parts(whole, most).larger == larger and len(larger) <= 1  # the metadata's
    quantize.read(parts[-1]).write(tmp_path / "merged.gguf")
    assert (tmp_path / "merged.gguf").read_bytes() == whole.read_bytes()
    assert joined_sha256(parts[0]) == hashing.of_file(whole)
    given = {tensor.name: bytes(tensor.data) for tensor in package.GGUFReader(whole).tensors}
    read = {t.name: bytes(t.data) for part in parts for t in package.GGUFReader(part).tensors}
    assert read == given
    with Model(parts[0]) as model:
        assert model is not None


def test_metadata_is_llama_ggufs(whole: Path, tmp_path: Path) -> None:
    """Types and order as llama-gguf-split writes them; all else is in the first part alone."""
    first, *others = written(whole, tmp_path / "m", 100_000)
    own = ["split.no", "split.tensors.count", "split.count"]
    read = package.GGUFReader(first)
    assert list(read.fields)[-3:] == own
    assert "general.architecture" in read.fields
    for number, part in enumerate(others, 1):
        fields = package.GGUFReader(part).fields
        assert list(fields) == ["GGUF.version", "GGUF.tensor_count", "GGUF.kv_count", *own]
        kinds = [fields[name].types[0].name for name in own]
        assert kinds == ["UINT16", "INT32", "UINT16"]
        total = len(quantize.read(whole).outputs)
        assert [fields[name].contents() for name in own] == [number, total, 1 + len(others)]


def test_a_tensor_that_is_larger_has_a_part_of_its_own(whole: Path, tmp_path: Path) -> None:
    parts = written(whole, tmp_path / "m", 1000)
    outputs = quantize.read(whole).outputs
    assert len(parts) == len(outputs)
    larger = [n for n, part in enumerate(parts, 1) if part.stat().st_size > 1000]
    assert Parts(whole, 1000).larger == larger and 1 in larger
    assert [*split.read(parts[0]).tensors] == [output.name for output in outputs]


def test_another_alignment(whole: Path, tmp_path: Path) -> None:
    """Of a file that is aligned otherwise, parts are as llama-gguf-split's: by 32 bytes."""
    plan = quantize.read(whole)
    reader = package.GGUFReader(whole)
    writer = package.GGUFWriter(tmp_path / "a.gguf", plan.architecture)
    writer.data_alignment = 128
    writer.add_custom_alignment(128)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    for part in written(tmp_path / "a.gguf", tmp_path / "m", 100_000):
        read = package.GGUFReader(part)
        assert read.alignment == 32 and "general.alignment" not in read.fields


def test_more_parts_than_names(whole: Path, tmp_path: Path) -> None:
    parts = Parts(whole, 100_000)
    parts.tensors = [[]] * 70_000
    with pytest.raises(UsageError, match="70000 parts of 100000 bytes"):
        parts.write(
            lambda n, c: tmp_path / "x", sealed=lambda p, s: None, progress=lambda d, t: None
        )
    assert not list(tmp_path.iterdir())
