"""A small hub on localhost: the part of the Hugging Face HTTP API that downloads use.

Repositories are folders, data sets under ``datasets/OWNER/NAME``; each has one commit. ``gated/…``
answers as a gated repository does, an unknown name as a missing one; ``requests``
records what was asked. As on the hub, the ETag of a file in LFS (here *.safetensors) is its
SHA-256, and that of any other file git's SHA-1.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """A running server: repositories by id, their commits where they are not COMMIT, a request log,
    and how often the end of each file is still to come as zeros."""

    url: str
    repositories: dict[str, Path]
    commits: dict[str, str] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    damaged: dict[str, int] = field(default_factory=dict)


def etag(name: str, data: bytes) -> str:
    if name.endswith(".safetensors"):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def names(folder: Path) -> list[str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in files)


@contextlib.contextmanager
def serve(repositories: dict[str, Path], commits: dict[str, str] | None = None) -> Iterator[Hub]:
    hub = Hub("", repositories, commits or {})

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            return

        def _answer(self, *, body: bool) -> None:
            hub.requests.append(f"{self.command} {self.path}")
            parts = self.path.split("?")[0].strip("/").split("/")
            if parts[0] == "datasets":
                parts[:3] = [f"datasets/{parts[1]}", parts[2]]
            if parts[:2] in (["api", "models"], ["api", "datasets"]):
                kind = "datasets/" if parts[1] == "datasets" else ""
                repository = kind + "/".join(parts[2:4])
                revision = parts[5] if len(parts) > 5 else "main"
                answer = self._tree if parts[4:5] == ["tree"] else self._info
                answer(repository, revision)
            elif len(parts) > 4 and parts[2] == "resolve":
                self._file("/".join(parts[:2]), parts[3], "/".join(parts[4:]), body=body)
            else:
                self._refuse(404, "EntryNotFound")

        def _known(self, repository: str, revision: str) -> Path | None:
            if repository.startswith("gated/"):
                self._refuse(403, "GatedRepo")
            elif repository not in hub.repositories:
                self._refuse(404, "RepoNotFound")
            elif revision not in ("main", hub.commits.get(repository, COMMIT)):
                self._refuse(404, "RevisionNotFound")
            else:
                return hub.repositories[repository]
            return None

        def _info(self, repository: str, revision: str) -> None:
            if folder := self._known(repository, revision):
                files = names(folder)
                info = {
                    "_id": "1",
                    "id": repository,
                    "modelId": repository,
                    "sha": hub.commits.get(repository, COMMIT),
                    "private": False,
                    "tags": [],
                    "downloads": 0,
                    "likes": 0,
                    "siblings": [
                        {"rfilename": name, "size": (folder / name).stat().st_size}
                        if "blobs=true" in self.path.lower()
                        else {"rfilename": name}
                        for name in files
                    ],
                }
                self._send(200, json.dumps(info).encode(), {"Content-Type": "application/json"})

        def _tree(self, repository: str, revision: str) -> None:
            if folder := self._known(repository, revision):
                entries = [
                    {
                        "type": "file",
                        "path": name,
                        "size": (folder / name).stat().st_size,
                        "oid": etag(name, (folder / name).read_bytes()),
                    }
                    for name in names(folder)
                ]
                self._send(200, json.dumps(entries).encode(), {"Content-Type": "application/json"})

        def _file(self, repository: str, revision: str, name: str, *, body: bool) -> None:
            folder = self._known(repository, revision)
            if folder is None:
                return
            if not (folder / name).is_file():
                self._refuse(404, "EntryNotFound")
                return
            data = (folder / name).read_bytes()
            headers = {
                "X-Repo-Commit": hub.commits.get(repository, COMMIT),
                "ETag": f'"{etag(name, data)}"',
                "Accept-Ranges": "bytes",
            }
            if body and hub.damaged.get(name, 0):
                hub.damaged[name] -= 1
                data = data[:-8] + bytes(8)
            self._send(200, data, headers, body=body)

        def _refuse(self, status: int, code: str) -> None:
            self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code})

        def _send(
            self, status: int, data: bytes, headers: dict[str, str], *, body: bool = True
        ) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if body and self.command == "GET":
                self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
