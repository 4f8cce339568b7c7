"""Addresses as sources: what each names, what is refused, and what is kept of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from qpipe.core.env_values import reveal
from qpipe.core.layout import StorePaths
from qpipe.errors import SourceError
from qpipe.sources import remote, remote_store
from qpipe.sources.download import Download, DownloadParams
from qpipe.sources.pinning import PinnedSource, Pinner
from qpipe.sources.sha256 import digests_named
from qpipe.stages.base import Work
from qpipe.support.addresses import without_secrets
from qpipe.support.hashing import of_file
from tests.file_server import serve

SIGNED = "https://h.example/d/m.gguf?X-Amz-Signature=abc&X-Amz-Expires=60"


@pytest.fixture(autouse=True)
def _no_query_stays() -> Iterator[None]:
    """A command hands queries on to its workers, and ends; tests go on."""
    yield
    for name in [name for name in os.environ if name.startswith("QPIPE_QUERY_")]:
        del os.environ[name]


def test_what_an_address_names() -> None:
    source, digest = remote.parse(f"https://h.example/a%20b/m%C3%A4.gguf#sha256={'AB' * 32}")
    assert (source.name, digest) == ("mä.gguf", "ab" * 32)
    assert source.shown == source.label == source.url == "https://h.example/a%20b/m%C3%A4.gguf"
    assert source.names() == ["mä.gguf"]
    parts, _ = remote.parse("https://h.example/m-00002-of-00003.gguf")
    assert parts.names() == [f"m-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    assert remote.parse("s3://bucket/models/m/")[0].name == "m"


def test_a_query_is_kept_nowhere() -> None:
    source, _ = remote.parse(SIGNED)
    assert source.shown == "https://h.example/d/m.gguf?…"
    assert source.label == "https://h.example/d/m.gguf"
    where = source.hidden()
    assert "abc" not in json.dumps(where)
    assert reveal(where) == SIGNED
    with pytest.raises(SourceError, match="left out of the record"):
        remote.parse(source.shown)
    assert without_secrets(f"model.source='{SIGNED}' x=1") == f"model.source='{source.shown}' x=1"
    assert without_secrets("https://me:pw@h/m.gguf") == "https://…@h/m.gguf"


def test_files_that_a_query_tells_apart_are_two() -> None:
    labels = {
        remote.parse(f"https://h.example/get.txt?{query}")[0].label
        for query in ("id=1&X-Amz-Signature=a", "id=1&X-Amz-Signature=b", "id=2", "")
    }
    assert len(labels) == 3
    azure = {
        remote.parse(f"https://h.example/m.gguf?sp=r&se=2026&sv=1&sig={sig}")[0].label
        for sig in "ab"
    }
    assert azure == {"https://h.example/m.gguf"}


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("https://me:secret@h.example/m.gguf", "put the login into ~/.netrc"),
        ("ftp://h.example/m.gguf", "is not one of https://"),
        ("https://h.example/", "does not end in the name of a file"),
        ("https://h.example/a/..", "does not end in the name of a file"),
        ("https://h.example/a/%2e%2e%2fm.gguf", "does not end in the name of a file"),
        ("https://h.example/m%00.gguf", "does not end in the name of a file"),
        ("https://h.example/model.safetensors", "weights without their config.json"),
        ("https://h.example/model.tar.gz", "is an archive"),
        ("https://h.example/pytorch_model.bin", "a pickle"),
        ("https:///m.gguf", "names no host"),
        ("https://[::1/m.gguf", "is no address"),
        ("https://h.example:x/m.gguf", "stands no port"),
        ("https://h.example:99999/m.gguf", "stands no port"),
        ("https://me:p/secret@h.example/m.gguf", "stands no port"),
        ("https://me:p'secret@h.example/m.gguf", "put the login into"),
        ("https://h..example/m.gguf", "is no address"),
        ("https://h.example/m-00001-of-00002.gguf?sig=1", "addresses of their own"),
        ("https://h.example/m.gguf#sha256=12", "is no SHA-256"),
        ("https://h.example/m.gguf#part", "is not sha256=DIGEST"),
        ("s3://", "names no bucket"),
        ("s3://key:secret@bucket/m.gguf", "put the login into"),
        ("s3://bucket/a/../b", "is no path in a bucket"),
        ("gs://bucket/m.gguf?x=1", "is no path in a bucket"),
    ],
)
def test_what_is_no_source(source: str, words: str) -> None:
    with pytest.raises(SourceError, match=words) as error:
        remote.parse(source)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("text", ["", "12", "g" * 64, "sha1:" + "0" * 64, "0" * 63])
def test_what_is_no_digest(text: str) -> None:
    with pytest.raises(ValueError, match="is no SHA-256: it has 64 hex digits"):
        digests_named(text)


@pytest.fixture
def model(tmp_path: Path) -> bytes:
    return b"GGUF" + os.urandom(100_000)


def pinner(folder: Path, **settings: object) -> Pinner:
    def nobody(source: object, last: str | None) -> str:
        raise AssertionError("the hub was asked")

    pins = Pinner((folder,), folder / "store" / "hashes", {}, nobody)
    for name, value in settings.items():
        setattr(pins, name, value)
    return pins


def learning(folder: Path, **settings: object) -> Pinner:
    pins = pinner(folder, **settings)
    store = StorePaths(folder / "store")
    pins.learn = lambda source: remote_store.learned(source, store)
    return pins


def taken(pinned: PinnedSource, folder: Path) -> Path:
    """The artifact that the stage makes of a pinned source."""
    folder.mkdir()
    where = json.loads(json.dumps(dict(pinned.where)))
    work = Work({}, folder, 1, lambda done, total, unit: None, where)
    facts = Download().run(DownloadParams.model_validate(dict(pinned.params)), work)
    assert facts["fetched_from"] == pinned.where["address"]
    return folder


def test_the_first_use_is_asked_for_shown_and_remembered(tmp_path: Path, model: bytes) -> None:
    with serve({"/m.gguf": model}) as server:
        source = f"{server.url}/m.gguf"
        with pytest.raises(SourceError, match="the SHA-256 of what is there is not known yet"):
            pinner(tmp_path).pin(source, None)
        assert not server.requests
        first = learning(tmp_path)
        pinned = first.pin(source, None)
        assert len(server.requests) == 1
        out = taken(pinned, tmp_path / "out")
        assert len(server.requests) == 1, "what was fetched for its digest is not fetched again"
        digest = of_file(out / "m.gguf")
        assert first.notes == first.learned == {source: f"sha256:{digest}"}
        assert pinned.params == {"kind": "remote", "files": {"m.gguf": digest}}
        # Known from now on: by this store, or by the lock file elsewhere.
        assert pinner(tmp_path).pin(source, None).params == pinned.params
        other = pinner(tmp_path / "other", commits=first.notes)
        assert other.pin(source, None).params == pinned.params
        # Other bytes at the same address are refused, and none are kept.
        server.files["/m.gguf"] = b"GGUF" + bytes(100)
        with pytest.raises(SourceError, match=f"and {digest} is asked for"):
            taken(other.pin(source, None), tmp_path / "changed")
        assert not [*(tmp_path / "changed").iterdir()]


def test_the_digest_that_is_given_counts(tmp_path: Path, model: bytes) -> None:
    with serve({"/d/m.gguf": model, "/d/n.gguf": model}) as server:
        (tmp_path / "m.gguf").write_bytes(model)
        digest = of_file(tmp_path / "m.gguf")
        source = f"{server.url}/d/m.gguf?X-Amz-Signature=secret"
        pinned = pinner(tmp_path).pin(source, None, digest.upper())
        assert not server.requests
        assert taken(pinned, tmp_path / "out").joinpath("m.gguf").read_bytes() == model
        assert server.requests[0][1].endswith("?X-Amz-Signature=secret")
        # The address is in no key.
        same = pinner(tmp_path).pin(f"https://else.where/m.gguf#sha256={digest}", None)
        assert same.params == pinned.params
    with pytest.raises(SourceError, match=r"model\.sha256 and #sha256= behind it differ"):
        pinner(tmp_path).pin(f"https://h.example/m.gguf#sha256={digest}", None, "0" * 64)
    with pytest.raises(SourceError, match=r"model\.revision is of a repository"):
        pinner(tmp_path).pin("https://h.example/m.gguf", "main", digest)
    with pytest.raises(SourceError, match="has 1 digests, and these are 2 files"):
        pinner(tmp_path).pin("https://h.example/m-00001-of-00002.gguf", None, digest)
    with pytest.raises(SourceError, match="is pinned by its commit"):
        pinner(tmp_path).pin("a/b", None, digest)
    with pytest.raises(SourceError, match="over http:// can be changed on the way"):
        learning(tmp_path).pin("http://h.example/m.gguf", None)


def test_all_parts_of_a_model(tmp_path: Path) -> None:
    names = ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"]
    files = {f"/{name}": b"GGUF" + os.urandom(1000) for name in names}
    with serve(files) as server:
        pinned = learning(tmp_path).pin(f"{server.url}/{names[1]}", None)
        out = taken(pinned, tmp_path / "out")
    assert {f"/{path.name}": path.read_bytes() for path in out.iterdir()} == files


def test_files_here_by_digest(tmp_path: Path, model: bytes) -> None:
    file = tmp_path / "my model.gguf"
    file.write_bytes(model)
    digest = of_file(file)
    plain = pinner(tmp_path).pin(str(file), None)
    url = f"file://{tmp_path}/my%20model.gguf"
    for pinned in (
        pinner(tmp_path).pin(url, None),
        pinner(tmp_path).pin(url, None, digest),
        pinner(tmp_path).pin(f"{url}#sha256={digest}", None),
        pinner(tmp_path).pin(str(file), None, f"sha256:{digest}"),
    ):
        assert pinned.params == plain.params
    for source, sha256, words in (
        (str(file), "0" * 64, "asks for"),
        (f"{url}#sha256={'0' * 64}", None, "asks for"),
        (f"file://elsewhere{file}", None, "is no file of this machine"),
        ("file:relative.gguf", None, "takes a whole path"),
        (f"file://{tmp_path}/none.gguf", None, "no such file"),
        (str(tmp_path), digest, "is of one file"),
    ):
        with pytest.raises(SourceError, match=words):
            pinner(tmp_path).pin(source, None, sha256)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> MemoryFileSystem:
    """fsspec's file system in memory, in the place of s3fs."""
    fsspec.register_implementation("s3", MemoryFileSystem, clobber=True)
    system = MemoryFileSystem()
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    return system


def put(system: MemoryFileSystem, **files: bytes) -> None:
    for name, data in files.items():
        path = name.replace("__", "/").replace("_DOT_", ".")
        system.pipe_file(f"/{path}", data)


CHECKPOINT = {
    "b__m__config_DOT_json": b'{"architectures": ["LlamaForCausalLM"]}',
    "b__m__tokenizer_DOT_json": b"{}",
    "b__m__model_DOT_safetensors": b"weights" * 1000,
    "b__m__consolidated_DOT_safetensors": b"other",
    "b__m__pytorch_model_DOT_bin": b"pickle",
    "b__m__onnx__model_DOT_onnx": b"onnx",
    "b__m__README_DOT_md": b"---\nlicense: mit\n---\nprose",
    "b__m__additional_chat_templates__tool_DOT_jinja": b"{{ x }}",
}


def test_a_folder_of_a_bucket(tmp_path: Path, bucket: MemoryFileSystem) -> None:
    put(bucket, **CHECKPOINT)
    first = learning(tmp_path)
    pinned = first.pin("s3://b/m/", None)
    names = ["README.md", "additional_chat_templates/tool.jinja", "config.json",
             "model.safetensors", "tokenizer.json"]  # fmt: skip
    assert [*pinned.params["files"]] == names  # type: ignore[misc]
    assert [*first.notes] == [f"s3://b/m#{name}" for name in sorted(names)]
    found = first.model_class(pinned)
    assert found is not None and found.name == "LlamaForCausalLM"
    out = taken(pinned, tmp_path / "out")
    assert (out / "model.safetensors").read_bytes() == b"weights" * 1000
    assert (out / "additional_chat_templates" / "tool.jinja").read_bytes() == b"{{ x }}"
    assert (out / "README.md").read_bytes() == b"---\nlicense: mit\n---\n"
    # Elsewhere by the lock file; a file that changed since is refused, whichever it is.
    locked = pinner(tmp_path / "other", commits=first.notes)
    again = locked.pin("s3://b/m", None)
    assert again.params == pinned.params
    bucket.pipe_file("/b/m/tokenizer.json", b"{ }")
    with pytest.raises(SourceError, match=r"s3://b/m/tokenizer\.json: its bytes have the SHA-256"):
        taken(again, tmp_path / "changed")


def test_one_file_of_a_bucket(tmp_path: Path, bucket: MemoryFileSystem, model: bytes) -> None:
    put(bucket, b__x__m_DOT_gguf=model)
    pins = learning(tmp_path)
    pinned = pins.pin("s3://b/x/m.gguf", None)
    assert [*pins.notes] == ["s3://b/x/m.gguf"]
    assert taken(pinned, tmp_path / "out").joinpath("m.gguf").read_bytes() == model
    put(bucket, **{f"b__p__m-0000{n}-of-00002_DOT_gguf": model for n in (1, 2)})
    parts = learning(tmp_path).pin("s3://b/p/m-00001-of-00002.gguf", None)
    assert len(taken(parts, tmp_path / "parts").joinpath("m-00002-of-00002.gguf").read_bytes())


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("s3://b/none", "there is no such file or folder"),
        ("s3://none", "no such file or folder"),
        ("s3://b/bin", "a pickle"),
        ("s3://b/ggufs", "holds 2 GGUF models"),
    ],
)
def test_what_no_bucket_has(
    tmp_path: Path, bucket: MemoryFileSystem, source: str, words: str
) -> None:
    put(bucket, b__bin__pytorch_model_DOT_bin=b"x", b__ggufs__a_DOT_gguf=b"GGUF",
        b__ggufs__b_DOT_gguf=b"GGUF")  # fmt: skip
    with pytest.raises(SourceError, match=words):
        learning(tmp_path).pin(source, None)


def test_a_cut_is_gone_on_from(tmp_path: Path, bucket: MemoryFileSystem, model: bytes) -> None:
    put(bucket, b__m_DOT_gguf=model)
    source, _ = remote.parse("s3://b/m.gguf")
    folder = remote_store.folder_of(source, StorePaths(tmp_path / "store"))
    folder.mkdir(parents=True)
    (folder / "m.gguf.part").write_bytes(model[:50_000])
    version = str(bucket.info("/b/m.gguf")["created"])
    (folder / "m.gguf.version").write_text(json.dumps({"version": version}))
    assert of_file(taken(learning(tmp_path).pin("s3://b/m.gguf", None), tmp_path / "o") / "m.gguf")
    (tmp_path / "whole").write_bytes(model)
    assert of_file(tmp_path / "o" / "m.gguf") == of_file(tmp_path / "whole")


def test_a_lock_asks_anew_and_fetches_what_changed_alone(tmp_path: Path, model: bytes) -> None:
    with serve({"/m.gguf": model}) as server:
        source = f"{server.url}/m.gguf"
        first = learning(tmp_path)
        taken(first.pin(source, None), tmp_path / "out")
        assert learning(tmp_path, anew=True).pin(source, None).params["files"]
        assert not [*(tmp_path / "store" / "partial").rglob("*.gguf")], "it was not fetched again"
        server.files["/m.gguf"] = model + b"x"
        later = learning(tmp_path, anew=True)
        later.pin(source, None)
        assert later.notes != first.notes
