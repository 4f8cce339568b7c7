"""What is given as a model and is none, said of it before anything is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest

from qpipe.errors import SourceError, UnreachableError
from qpipe.sources import hub
from qpipe.sources.hub_source import HubSource
from qpipe.sources.no_model import require_fetched
from qpipe.sources.pinning import Pinner


def pinner(folder: Path) -> Pinner:
    def refuse(source: HubSource, last: str | None) -> str:
        raise AssertionError(source)

    return Pinner((folder,), folder / "hashes", {}, refuse)


def written(*names: str) -> Callable[[Path], None]:
    def write(at: Path) -> None:
        at.mkdir()
        for name in names:
            (at / name).parent.mkdir(exist_ok=True)
            (at / name).write_text("some text")

    return write


def zipped(at: Path) -> None:
    with ZipFile(at, "w") as archive:
        archive.writestr("a", "b")


@pytest.mark.parametrize(
    ("name", "write", "words"),
    [
        (
            "README.md",
            lambda at: at.write_text("# Notes"),
            "is a text, and no model: give a checkpoint's",
        ),
        ("m.zip", zipped, "is an archive: unpack it"),
        ("m", zipped, "is a zip archive, or a pickle of torch's, and no model: give"),
        (
            "blob",
            lambda at: at.write_bytes(b"GGUF\3\0\0\0"),
            "a GGUF file by its content: give it a name",
        ),
        ("m.pt", lambda at: at.write_bytes(b""), "is a pickle: convert it"),
        ("config.json", lambda at: at.write_text("{}"), "give the folder that it lies in"),
        ("empty", written(), "is empty"),
        ("notes", written("a.txt", "b.md", "c.md", "d.md"), "no model, but a.txt, b.md, c.md, …:"),
        ("pages", written("LICENSE", "more/x.txt"), "holds no model, but LICENSE, more: give"),
        ("tasks", written("task.yaml"), "holds no model, but task.yaml: give"),
        ("ai", written("m.gguf", "m.yaml"), "but GGUF (m.gguf): give that file"),
        ("st", written("model.safetensors", "m.yaml"), "has no config.json beside it"),
    ],
)
def test_what_is_here(
    tmp_path: Path, name: str, write: Callable[[Path], object], words: str
) -> None:
    write(tmp_path / name)
    for source in (f"./{name}", f"file://{tmp_path / name}"):
        with pytest.raises(SourceError) as raised:
            pinner(tmp_path).require_model(source)
        assert words in str(raised.value)
        assert str(raised.value).startswith(source.removeprefix("file://") + ": ")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("hf:someone/model/README.md", "is no model"),
        ("https://huggingface.co/someone/model/blob/main/m.zip", "is an archive"),
        ("https://host.example/notes.txt?key=secret", "notes.txt?…: is no model"),
    ],
)
def test_what_is_elsewhere_by_its_name(tmp_path: Path, source: str, words: str) -> None:
    with pytest.raises(SourceError) as raised:
        pinner(tmp_path).require_model(source)
    assert words in str(raised.value)
    assert "secret" not in str(raised.value)


def test_what_a_bucket_has() -> None:
    where = {"address": "s3://bucket/notes"}
    with pytest.raises(SourceError, match=r"s3://bucket/notes: holds no model, but a\.txt: give"):
        require_fetched({"files": {"a.txt": "0" * 64}}, where)
    require_fetched({"files": {"config.json": "0" * 64, "model.safetensors": "0" * 64}}, where)


@pytest.mark.parametrize(
    "source",
    ["someone/model", "someone/model:Q4_K_M", "someone/model/m.gguf", "https://h.example/m.gguf",
     "hf:someone/model/model.safetensors", "builtin:stories260K", "./gone", "s3://bucket/folder",
     "./whole", "./whole/model.safetensors", "./pickled", "./m.gguf"],
)  # fmt: skip
def test_what_may_be_one(tmp_path: Path, source: str) -> None:
    written("config.json", "model.safetensors")(tmp_path / "whole")
    written("config.json", "pytorch_model.bin")(tmp_path / "pickled")
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    pinner(tmp_path).require_model(source)


@pytest.mark.parametrize("names", [[], ["config.json"], ["README.md"]])
def test_what_the_cache_lacks_is_not_what_a_repository_lacks(names: list[str]) -> None:
    source = HubSource("someone/model", "model", "0" * 40, None)
    with pytest.raises(UnreachableError, match="the hub's cache has"):
        hub._chosen(source, names, cached=True)
    with pytest.raises(SourceError) as raised:
        hub._chosen(source, names)
    assert not isinstance(raised.value, UnreachableError)
