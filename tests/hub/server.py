"""The server: what was asked is noted, who asks is known, and each path has its answer."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.hub import sending
from tests.hub.faults import Faults, Status
from tests.hub.repositories import COMMIT, Access, Reader, Repository

TOKEN = "hf_AllowedToReadAndWriteQwErTyUiOp"
"""The token of an account that may write."""

_API = re.compile(
    r"/api/(?P<kind>models|datasets|spaces)/(?P<repo>[^/]+/[^/]+)"
    r"(?:/(?P<what>revision|tree|paths-info|refs|commits|preupload|commit|branch|auth-check)"
    r"(?:/(?P<rest>.*))?)?"
)
_RESOLVE = re.compile(
    r"/(?P<kind>datasets/|spaces/)?(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<name>.+)"
)
_CACHE = re.compile(
    r"/api/resolve-cache/(?P<kind>models|datasets|spaces)/(?P<repo>[^/]+/[^/]+)"
    r"/(?P<commit>[^/]+)/(?P<name>.+)"
)
_LFS = re.compile(r"/(?P<repo>(?:datasets/|spaces/)?[^/]+/[^/]+)\.git/info/lfs/(?P<rest>.+)")


@dataclass(frozen=True)
class Seen:
    """A request: ``token`` is what its Authorization header bore, ``status`` what it got."""

    method: str
    host: str
    path: str
    token: str | None
    range: str | None
    status: int


@dataclass
class Hub:
    """A running server: its repositories, who may do what, what goes wrong, what was asked.

    ``signature`` is in every address that it signs, of files and of uploads; like ``tokens`` it
    is a secret of those who were given it. ``page`` is how many files a page of a tree has,
    ``part`` the bytes from which an upload is one in parts of that size. ``moved`` maps former
    names of repositories to those of today. ``gzip`` compresses small files for who takes that.
    ``most`` is how many files were ``sending`` at once at most.
    """

    url: str
    folder: Path
    known: dict[str, Repository]
    tokens: dict[str, str] = field(default_factory=lambda: {TOKEN: "someone"})
    access: dict[str, Access] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    faults: Faults = field(default_factory=Faults)
    reader: Reader = field(default_factory=Reader)
    signature: str = "f0e1d2c3b4a5968778695a4b3c2d1e0f"
    page: int = 1000
    part: int = 5_000_000
    gzip: bool = False
    sending: int = 0
    most: int = 0

    @property
    def requests(self) -> list[str]:
        """What was asked, as ``METHOD path``."""
        return [f"{one.method} {one.path}" for one in self.seen]

    @property
    def repositories(self) -> dict[str, Path]:
        """The folders of the newest commits of main."""
        return {name: one.commits[one.branches["main"]] for name, one in self.known.items()}

    @property
    def fail(self) -> Faults:
        """Plans what goes wrong, called with where and what."""
        return self.faults


class Handler(BaseHTTPRequestHandler):
    """One connection. ``hub`` is set in a subclass for each server."""

    hub: Hub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        return

    def _answer(self) -> None:
        # What a proxy is asked for is a whole address.
        self.parts = urlsplit(self.path)
        self.query = parse_qs(self.parts.query)
        self.unread = int(self.headers.get("Content-Length", "0"))
        ranged = "Range" in self.headers
        fault = self.hub.faults.take(self.command, self.parts.path, body=False, ranged=ranged)
        if isinstance(fault, Status):
            self.refuse(fault.code, "", fault.text, fault.headers)
        elif self.token is not None and self.token not in self.hub.tokens:
            self.refuse(401, "", "Invalid credentials in Authorization header")
        else:
            self._route()

    def _route(self) -> None:
        from tests.hub import downloads, uploads

        path = unquote(self.parts.path)
        if match := _CACHE.fullmatch(path):
            downloads.cached_file(self, repository_id(match), match["commit"], match["name"])
        elif match := _API.fullmatch(self.parts.path):
            rest = unquote(match["rest"] or "")
            if self.command == "POST" and match["what"] != "paths-info":
                uploads.of_repository(self, repository_id(match), match["what"], rest)
            else:
                downloads.of_repository(self, repository_id(match), match["what"], match["rest"])
        elif match := _RESOLVE.fullmatch(self.parts.path):
            revision, name = unquote(match["revision"]), unquote(match["name"])
            downloads.resolve(self, repository_id(match), revision, name)
        elif path.startswith("/cdn/"):
            downloads.signed(self, self.parts.path.removeprefix("/cdn/"))
        elif match := _LFS.fullmatch(path):
            uploads.batch(self, match["repo"])
        else:
            uploads.elsewhere(self, path)

    @property
    def token(self) -> str | None:
        """What the Authorization header bears."""
        header = self.headers.get("Authorization")
        return None if header is None else header.removeprefix("Bearer ")

    def body(self) -> bytes:
        """The request's body."""
        data = self.rfile.read(self.unread)
        self.unread = 0
        return data

    def refuse(
        self, code: int, error: str, message: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """Answer with an error, in the hub's headers and words."""
        named = {"X-Error-Code": error} if error else {}
        told = {"X-Error-Message": message} if message else {}
        body = {"error": message or error}
        self.json(body, code=code, headers={**named, **told, **(headers or {})})

    def json(
        self, value: Any, *, code: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        """Answer with JSON."""
        data = json.dumps(value).encode()
        self.send(code, data, {"Content-Type": "application/json", **(headers or {})})

    def send(self, code: int, data: bytes, headers: Mapping[str, str]) -> None:
        """Answer with a few bytes."""
        self.begin(code, {**headers, "Content-Length": str(len(data))})
        if self.command != "HEAD":
            with contextlib.suppress(OSError):
                self.wfile.write(data)

    def begin(self, code: int, headers: Mapping[str, str]) -> None:
        """Send the headers of an answer; the body of the request is read first."""
        sending.skip(self.rfile, self.unread)
        self.unread = 0
        host = self.headers.get("Host", "")
        token, ranges = self.token, self.headers.get("Range")
        self.hub.seen.append(Seen(self.command, host, self.path, token, ranges, code))
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        with contextlib.suppress(OSError):
            self.end_headers()


def repository_id(match: re.Match[str]) -> str:
    """The name of a repository: that of a data set or space has its kind in front."""
    kind = (match["kind"] or "").strip("/")
    return match["repo"] if kind in ("", "models") else f"{kind}/{match['repo']}"


class _Server(ThreadingHTTPServer):
    """One that ends its connections when it is closed, and waits for their threads."""

    daemon_threads = False
    request_queue_size = 64

    def __init__(self, handler: type[Handler]) -> None:
        self._open: set[socket.socket] = set()
        self._ending = threading.Lock()
        super().__init__(("127.0.0.1", 0), handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._ending:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._ending:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away, as those do that are killed, is no error of ours."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    def server_close(self) -> None:
        with self._ending:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        super().server_close()


@contextlib.contextmanager
def serve(
    repositories: Mapping[str, Path] | None = None, commits: Mapping[str, str] | None = None
) -> Iterator[Hub]:
    """A hub with these repositories, whose commits are COMMIT unless they are named."""
    known = {
        name: Repository.of_folder(folder, (commits or {}).get(name, COMMIT))
        for name, folder in (repositories or {}).items()
    }
    with tempfile.TemporaryDirectory(prefix="qpipe-hub-") as folder:
        hub = Hub("", Path(folder), known)
        server = _Server(type("Bound", (Handler,), {"hub": hub}))
        hub.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
