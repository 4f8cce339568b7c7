"""Files at addresses: whole, with the right bytes, whatever a server does."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from qpipe.errors import OutOfSpaceError, SourceError, UnreachableError
from qpipe.sources import transfer
from qpipe.sources.http_file import HttpFile
from tests.file_server import FileServer, serve

DATA = b"GGUF" + os.urandom(3 << 20)
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "_PAUSE", 0.01)


def fetch(
    server: FileServer, folder: Path, sha256: str | None = None, path: str = "/m.gguf"
) -> transfer.ReceivedFile:
    file = HttpFile(server.url + path, path.rpartition("/")[2], f"{server.url}{path}")
    return transfer.fetch(file, folder, sha256)


def ranges(server: FileServer) -> list[str]:
    return [span for _, _, span in server.requests]


def test_it_is_hashed_as_it_comes(tmp_path: Path) -> None:
    with serve({"/m.gguf": DATA}) as server:
        for sha256 in (None, SHA256):
            got = fetch(server, tmp_path, sha256)
            assert got.sha256 == SHA256
            assert got.path.read_bytes() == DATA
            assert [path.name for path in tmp_path.iterdir()] == ["m.gguf"]


@pytest.mark.parametrize("validators", [False, True])
def test_it_goes_on_where_it_was_cut(tmp_path: Path, validators: bool) -> None:
    with serve({"/m.gguf": DATA}) as server:
        server.cuts, server.validators = [1 << 20, 1000, 1 << 20], validators
        assert fetch(server, tmp_path, SHA256).path.read_bytes() == DATA
        assert ranges(server)[0] == ""
        assert ranges(server)[1] == f"bytes={1 << 20}-"
        assert ranges(server)[2] == f"bytes={(1 << 20) + 1000}-"


def test_another_process_goes_on(tmp_path: Path) -> None:
    with serve({"/m.gguf": DATA}) as server:
        server.cuts, server.answers = [2_000_000], []
        with pytest.MonkeyPatch.context() as patch, pytest.raises(UnreachableError):
            patch.setattr(transfer, "_ATTEMPTS", 1)
            fetch(server, tmp_path)
        assert (tmp_path / "m.gguf.part").stat().st_size == 2_000_000
        assert fetch(server, tmp_path).sha256 == SHA256
        assert ranges(server) == ["", "bytes=2000000-"]


def test_a_server_without_ranges_sends_all_again(tmp_path: Path) -> None:
    with serve({"/m.gguf": DATA}) as server:
        server.cuts, server.ranges = [1 << 20], False
        assert fetch(server, tmp_path).path.read_bytes() == DATA


def test_a_file_that_changed_in_between_begins_anew(tmp_path: Path) -> None:
    for validators in (True, False):
        with serve({"/m.gguf": b"GGUF" + bytes(3 << 20)}) as server:
            server.cuts, server.validators = [1 << 20], validators
            with pytest.MonkeyPatch.context() as patch, pytest.raises(UnreachableError):
                patch.setattr(transfer, "_ATTEMPTS", 1)
                fetch(server, tmp_path, SHA256)
            server.files["/m.gguf"] = DATA
            assert fetch(server, tmp_path, SHA256).path.read_bytes() == DATA


def test_all_but_its_name_was_there(tmp_path: Path) -> None:
    """Killed between the last byte and the renaming: 416 says that nothing is missing."""
    (tmp_path / "m.gguf.part").write_bytes(DATA)
    with serve({"/m.gguf": DATA}) as server:
        assert fetch(server, tmp_path, SHA256).path.read_bytes() == DATA
        (tmp_path / "m.gguf.part").write_bytes(DATA + b"more")
        assert fetch(server, tmp_path, SHA256).path.read_bytes() == DATA


def test_other_bytes_are_refused(tmp_path: Path) -> None:
    with serve({"/m.gguf": DATA}) as server:
        with pytest.raises(SourceError, match=f"SHA-256 {SHA256}, and {'0' * 64} is asked for"):
            fetch(server, tmp_path, "0" * 64)
        assert len(server.requests) == 1
    assert not [*tmp_path.iterdir()]


def test_it_waits_and_tries_again(tmp_path: Path) -> None:
    with serve({"/m.gguf": DATA}) as server:
        server.answers = [(503, {}), (429, {"Retry-After": "0"}), (500, {}), (502, {})]
        assert fetch(server, tmp_path).sha256 == SHA256
        server.answers = [(503, {})] * 5
        with pytest.raises(UnreachableError, match=r"answered 503 .*, 5 times in a row"):
            fetch(server, tmp_path)


def test_nobody_answers(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="check the network and the proxy"):
        fetch(FileServer("http://127.0.0.1:9"), tmp_path)


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "wants a login"), (403, "signature"), (404, "no such file"), (418, "answered 418")],
)
def test_what_no_other_attempt_helps(tmp_path: Path, status: int, words: str) -> None:
    with serve() as server:
        server.answers = [(status, {})]
        with pytest.raises(SourceError, match=words):
            fetch(server, tmp_path)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("data", "kind", "words"),
    [
        (b"<!DOCTYPE html><title>Sign in", "text/html; charset=utf-8", "a web page came"),
        (b"\n<html>", "application/octet-stream", "a web page came"),
        (b"version https://git-lfs.github.com/spec/v1\n", "text/plain", "a pointer of git LFS"),
        (b"PK\x03\x04....", "application/octet-stream", "is no GGUF file: it begins with"),
    ],
)
def test_something_else_comes(tmp_path: Path, data: bytes, kind: str, words: str) -> None:
    with serve({"/m.gguf": data}) as server:
        server.kind = kind
        with pytest.raises(SourceError, match=words):
            fetch(server, tmp_path)
    assert not [*tmp_path.iterdir()]


def test_what_is_sent_compressed_is_the_file(tmp_path: Path) -> None:
    with serve({"/m.gguf": DATA}) as server:
        server.packed = "gzip"
        assert fetch(server, tmp_path, SHA256).path.read_bytes() == DATA


def test_redirects(tmp_path: Path) -> None:
    with serve({"/real/m.gguf": DATA}) as server:
        server.answers = [(302, {"Location": "/real/m.gguf"})]
        assert fetch(server, tmp_path).sha256 == SHA256
        server.answers = [(302, {"Location": "/m.gguf"})] * 20
        with pytest.raises(SourceError, match="redirects more than 10 times"):
            fetch(server, tmp_path)
        server.answers = [(302, {"Location": "ftp://elsewhere/m.gguf"})]
        with pytest.raises(SourceError, match="redirects from http to ftp"):
            fetch(server, tmp_path)


def test_a_file_larger_than_the_disk_is_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "free_bytes", lambda path: 1000)
    with serve({"/m.gguf": DATA}) as server, pytest.raises(OutOfSpaceError, match="has 1,000 left"):
        fetch(server, tmp_path)
    assert not (tmp_path / "m.gguf.part").exists()


def test_a_proxy_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy is asked for the whole address."""
    with serve() as proxy:
        proxy.files["http://files.example/m.gguf"] = DATA
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        file = HttpFile("http://files.example/m.gguf", "m.gguf", "shown")
        assert transfer.fetch(file, tmp_path, SHA256).sha256 == SHA256
        monkeypatch.setenv("HTTP_PROXY", "nonsense://x")
        with pytest.raises(SourceError, match="proxy of HTTPS_PROXY"):
            transfer.fetch(file, tmp_path, SHA256)
