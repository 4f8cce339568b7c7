"""A GGUF model in several files: read, shown and merged as the one that it is."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gguf as package
import pytest

from qpipe import errors
from qpipe.gguf import quantize, split, stream, values
from qpipe.gguf.inspect import inspect
from qpipe.llamacpp.model import Model

GgufOf = Callable[[str, str], Path]


def divide(whole: Path, folder: Path, counts: tuple[int, ...]) -> list[Path]:
    """As llama-gguf-split does: parts with so many tensors each, metadata in the first."""
    given = quantize.read(whole)
    folder.mkdir()
    made, start = [], 0
    for number, count in enumerate(counts):
        path = folder / f"m-{number + 1:05d}-of-{len(counts):05d}.gguf"
        own = {
            split.NUMBER: values.encode(number, values.ValueType.UINT16),
            split.COUNT: values.encode(len(counts), values.ValueType.UINT16),
            split.TENSORS: values.encode(len(given.outputs), values.ValueType.INT32),
        }
        metadata = {**(given.metadata if number == 0 else {}), **own}
        outputs = given.outputs[start : start + count]
        stream.write([stream.OutputFile(path, metadata, outputs)])
        made.append(path)
        start += count
    assert start == len(given.outputs)
    return made


@pytest.fixture
def whole(gguf_of: GgufOf) -> Path:
    return gguf_of("stories260K", "Q8_0")


def test_parts_merge_into_the_very_file(whole: Path, tmp_path: Path) -> None:
    count = len(quantize.read(whole).outputs)
    parts = divide(whole, tmp_path / "m", (5, 3, count - 8))
    for part in parts:
        quantize.read(part).write(tmp_path / "merged.gguf")
        assert (tmp_path / "merged.gguf").read_bytes() == whole.read_bytes()


def test_the_parts_are_llama_cpps(whole: Path, tmp_path: Path) -> None:
    """It loads them, and so does the gguf package."""
    parts = divide(whole, tmp_path / "m", (5, len(quantize.read(whole).outputs) - 5))
    assert len(package.GGUFReader(parts[1]).tensors) == len(quantize.read(whole).outputs) - 5
    with Model(parts[0]) as model:
        assert model is not None


def test_a_part_is_shown_as_what_it_is(whole: Path, tmp_path: Path) -> None:
    all_of_it = inspect(whole)
    first, second = divide(whole, tmp_path / "m", (5, len(all_of_it["tensors"]) - 5))
    one, two, both = inspect(first), inspect(second), inspect(tmp_path / "m")
    assert (one["format"], two["format"]) == ("GGUF v3, part 1 of 2", "GGUF v3, part 2 of 2")
    assert (one["architecture"], two["architecture"]) == ("llama", None)
    assert one["parameters"] + two["parameters"] == both["parameters"] == all_of_it["parameters"]
    assert both["format"] == "GGUF v3, 2 parts"
    assert both["file_bytes"] == one["file_bytes"] + two["file_bytes"]
    assert {key: both[key] for key in ("tensors", "types", "file_type")} == {
        key: all_of_it[key] for key in ("tensors", "types", "file_type")
    }


def test_a_first_part_without_tensors(whole: Path, tmp_path: Path) -> None:
    """As llama-gguf-split --no-tensor-first-split makes it."""
    parts = divide(whole, tmp_path / "m", (0, len(quantize.read(whole).outputs)))
    quantize.read(parts[0]).write(tmp_path / "merged.gguf")
    assert (tmp_path / "merged.gguf").read_bytes() == whole.read_bytes()
    assert inspect(parts[0])["format"] == "GGUF v3, part 1 of 2"


def test_parts_that_do_not_belong_together(whole: Path, tmp_path: Path) -> None:
    count = len(quantize.read(whole).outputs)
    first, second = divide(whole, tmp_path / "m", (5, count - 5))
    other, _ = divide(whole, tmp_path / "other", (6, count - 6))
    for damage, words in (
        (lambda: shutil.copy(other, first), "is in another part too"),
        (lambda: shutil.copy(other, second), "is not part 2 of 2"),
        (second.unlink, "cannot be read"),
        (lambda: first.rename(tmp_path / "m" / "x.gguf"), "its name does not say so"),
    ):
        damage()
        path = first if first.exists() else tmp_path / "m" / "x.gguf"
        with pytest.raises(errors.CheckpointError, match=words):
            split.read(path)


def test_names_of_parts() -> None:
    assert split.named("m-00002-of-00003.gguf") == split.SplitName("m", 2, 3)
    for name in ("m.gguf", "m-00001-of-00001.gguf", "m-00004-of-00003.gguf", "m-1-of-2.gguf"):
        assert split.named(name) is None
    assert replace(split.SplitName("m", 1, 2)).all_names() == [
        "m-00001-of-00002.gguf", "m-00002-of-00002.gguf",
    ]  # fmt: skip
