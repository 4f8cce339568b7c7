"""A large file's bytes, straight from the connection: whole and right, whatever becomes of that."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from qpipe.errors import SourceError, UnreachableError
from qpipe.sources import body, http_file, transfer
from qpipe.sources.http_file import HttpFile
from tests.file_server import FileServer, serve

# More than is taken from the connection itself.
DATA = b"GGUF" + random.Random(3).randbytes(10_000_001)
SHA256 = hashlib.sha256(DATA).hexdigest()
MIDDLE = 9_000_001


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "_PAUSE", 0.01)


@pytest.fixture
def direct(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes that were left of each body that was taken from its connection."""
    seen: list[int] = []
    one = body._from_connection

    def noted(answer: httpx.Response, left: int) -> Iterator[bytes]:
        seen.append(left)
        return one(answer, left)

    monkeypatch.setattr(body, "_from_connection", noted)
    return seen


def fetch(server: FileServer, folder: Path, sha256: str | None = SHA256) -> bytes:
    file = HttpFile(f"{server.url}/m.gguf", "m.gguf", "shown")
    got = transfer.fetch(file, folder, sha256)
    assert got.sha256 == hashlib.sha256(got.path.read_bytes()).hexdigest()
    return got.path.read_bytes()


def ranges(server: FileServer) -> list[str]:
    return [span for _, _, span in server.requests]


def test_it_is_whole_and_its_connection_is_used_no_more(tmp_path: Path, direct: list[int]) -> None:
    with serve({"/m.gguf": DATA, "/small": b"s"}) as server, httpx.Client() as client:
        for _ in range(2):
            with client.stream("GET", f"{server.url}/m.gguf") as answer:
                assert b"".join(body.pieces(answer)) == DATA
            with client.stream("GET", f"{server.url}/small") as answer:
                assert b"".join(body.pieces(answer)) == b"s"
        with client.stream("GET", f"{server.url}/m.gguf") as answer:
            next(body.pieces(answer))  # and no more of it
        assert client.get(f"{server.url}/small").content == b"s"
    assert len(direct) == 2
    assert all(0 < left <= len(DATA) for left in direct)


def test_a_cut_connection_goes_on_at_its_byte(tmp_path: Path, direct: list[int]) -> None:
    with serve({"/m.gguf": DATA}) as server:
        server.cuts = [MIDDLE]
        assert fetch(server, tmp_path, None) == DATA
        assert ranges(server) == ["", f"bytes={MIDDLE}-"]
    assert len(direct) == 1  # the rest is short


def test_a_connection_that_falls_silent_goes_on_at_its_byte(
    tmp_path: Path, direct: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_file, "_READ", 0.3)
    with serve({"/m.gguf": DATA}) as server:
        server.cuts, server.pause = [MIDDLE], 1.0
        assert fetch(server, tmp_path) == DATA
        assert ranges(server) == ["", f"bytes={MIDDLE}-"]
    assert len(direct) == 1


def test_it_is_redirected(tmp_path: Path, direct: list[int]) -> None:
    with serve({"/real": DATA}) as server:
        server.answers = [(302, {"Location": "/real"})]
        assert fetch(server, tmp_path) == DATA
    assert len(direct) == 1


def test_what_comes_after_the_announced_bytes_is_not_of_the_file(
    tmp_path: Path, direct: list[int]
) -> None:
    with serve({"/m.gguf": DATA}) as server:
        server.framing = "more"
        assert fetch(server, tmp_path, None) == DATA
    assert len(direct) == 1


@pytest.mark.parametrize("framing", ["chunked", "length"])
@pytest.mark.parametrize("packed", ["", "gzip"])
def test_a_body_that_ends_early_is_never_taken(
    tmp_path: Path, direct: list[int], packed: str, framing: str
) -> None:
    with serve({"/m.gguf": DATA}) as server:
        server.framing, server.packed, server.ranges = framing, packed, False
        server.cuts = [MIDDLE] * 2
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(transfer, "_WORTH", 1 << 30)
            patch.setattr(transfer, "_ATTEMPTS", 2)
            with pytest.raises(UnreachableError, match="2 times in a row"):
                fetch(server, tmp_path, None)
        assert not (tmp_path / "m.gguf").exists()
        assert fetch(server, tmp_path, None) == DATA
    assert bool(direct) is (packed == "" and framing == "length")


def test_of_an_end_that_nothing_tells_the_digest_does(tmp_path: Path) -> None:
    with serve({"/m.gguf": DATA}) as server:
        server.framing = "open"
        for _ in range(2):
            with pytest.raises(SourceError, match="nor where it ends"):
                fetch(server, tmp_path, None)
        assert fetch(server, tmp_path) == DATA
        server.cuts = [MIDDLE]
        with pytest.raises(SourceError, match=f"and {SHA256} is asked for"):
            fetch(server, tmp_path)
        server.packed = "gzip"
        with pytest.raises(SourceError, match="nor where it ends"):
            fetch(server, tmp_path, None)
        server.cuts = [MIDDLE]
        assert fetch(server, tmp_path) == DATA  # its end was missing, and it came anew
        assert len(server.requests) == 7


def test_a_compression_that_nobody_knows_is_not_the_file(tmp_path: Path) -> None:
    """httpx takes such a body for the file."""
    with serve({"/m.gguf": DATA}) as server:
        server.packed = "br"
        with pytest.raises(SourceError, match=r"compressed \(br\), though it was asked not to"):
            fetch(server, tmp_path, None)
        assert not [*tmp_path.iterdir()]


def test_a_part_of_nobody_knows_how_much_is_not_the_rest(tmp_path: Path) -> None:
    with serve({"/m.gguf": DATA}) as server:
        server.cuts = [MIDDLE]
        server.part = "bytes {start}-{start}/*"
        assert fetch(server, tmp_path, None) == DATA
        assert ranges(server) == ["", f"bytes={MIDDLE}-", ""]
