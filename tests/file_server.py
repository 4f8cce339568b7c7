"""A web server on loopback for files at addresses: ranges, validators, redirects, and what goes
wrong: cut connections, changed files, pages in place of files, answers that ask to wait."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class FileServer:
    """A running server. ``files`` by path; ``cuts`` are bytes after which the connection of the
    next answer ends; ``answers`` are given in place of the file, first to last, as status and
    headers; ``requests`` records method, path and range.

    ``packed`` is the compression in which files come unasked: gzip, in two members, or a bare name.
    ``framing`` is how a body's end is told: by its length, by ``chunked``, by nothing (``open``:
    the connection ends), or by a length after which ``more`` comes. ``pause`` is seconds without a
    byte before the end of what ``cuts`` has of a body, ``part`` what an answer calls a range."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    kind: str = "application/octet-stream"
    ranges: bool = True
    validators: bool = True
    packed: str = ""
    framing: str = "length"
    pause: float = 0.0
    part: str = "bytes {start}-{last}/{size}"
    requests: list[tuple[str, str, str]] = field(default_factory=list)


@contextlib.contextmanager
def serve(files: dict[str, bytes] | None = None) -> Iterator[FileServer]:
    server = FileServer(files=files or {})

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            return

        def do_GET(self) -> None:
            server.requests.append((self.command, self.path, self.headers.get("Range", "")))
            if server.answers:
                status, headers = server.answers.pop(0)
                self._send(status, b"", headers)
                return
            data = server.files.get(self.path.partition("?")[0])
            if data is None:
                self._send(404, b"not here", {})
                return
            self._file(data)

        def _file(self, data: bytes) -> None:
            tag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
            headers = {"Content-Type": server.kind}
            if server.validators:
                headers["ETag"] = tag
            if server.packed:
                half = len(data) // 2
                gzipped = gzip.compress(data[:half], 0) + gzip.compress(data[half:], 0)
                sent = gzipped if server.packed == "gzip" else data
                self._send(200, sent, {**headers, "Content-Encoding": server.packed})
                return
            span = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            unchanged = self.headers.get("If-Range", tag) == tag
            if span is None or not server.ranges or not unchanged:
                self._send(200, data, headers)
            elif (start := int(span[1])) >= len(data):
                self._send(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            else:
                where = server.part.format(start=start, last=len(data) - 1, size=len(data))
                self._send(206, data[start:], {**headers, "Content-Range": where})

        def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
            cut = server.cuts.pop(0) if server.cuts and status in (200, 206) else len(data)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            framing = server.framing if status in (200, 206) else "length"
            if framing == "chunked":
                self.send_header("Transfer-Encoding", "chunked")
            elif framing != "open":
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self._body(data, cut, framing)

        def _body(self, data: bytes, cut: int, framing: str) -> None:
            with contextlib.suppress(OSError):
                if framing == "chunked":
                    for at in range(0, cut, 1 << 20):
                        piece = data[at : min(cut, at + (1 << 20))]
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                    self.wfile.write(b"0\r\n\r\n" if cut == len(data) else b"")
                else:
                    self.wfile.write(data[:cut])
                    self.wfile.write(data if framing == "more" else b"")
                if cut < len(data):
                    self.wfile.flush()
                    time.sleep(server.pause)
            if cut < len(data) or framing in ("open", "more"):
                self.close_connection = True

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    server.url = f"http://127.0.0.1:{httpd.server_port}"
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()
