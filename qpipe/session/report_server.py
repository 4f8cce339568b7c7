"""A report on 127.0.0.1 that follows its runs, for this machine's browsers and nobody else.

What keeps others out: it listens on the loopback address alone; a request must name that address as
its host, or a page of elsewhere could have its own name lead here (DNS rebinding); it must come
from the page itself or from nowhere, as a browser says of an address that was typed in; and no
answer may be framed, kept or read by another origin.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from qpipe.errors import QpipeError, UsageError
from qpipe.session.watched_runs import WatchedRuns

ADDRESS = "127.0.0.1"

_HTML, _JSON, _TEXT = "text/html", "application/json", "text/plain"
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_SECONDS = 0.5


class ReportServer(ThreadingHTTPServer):
    """Serves the report of ``runs`` at `url`; ``notify`` is told once when they have ended.

    Port 0 is any that is free. Raises UsageError for a port that cannot be had.
    """

    daemon_threads = True

    def __init__(
        self, runs: WatchedRuns, *, port: int = 0, notify: Callable[[str], None] = print
    ) -> None:
        self.runs, self._notify = runs, notify
        self._running = runs.state()["status"] == "running"
        try:
            super().__init__((ADDRESS, port), _Handler)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise UsageError(
                f"--port {port}: {why}; name another, or leave it out for one that is free"
            ) from None

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://{ADDRESS}:{self.server_port}/"

    def serve(self) -> None:
        """Serve until `shutdown` or KeyboardInterrupt."""
        self.serve_forever(poll_interval=_SECONDS)

    def service_actions(self) -> None:
        """Say it when the runs have ended."""
        if self._running and (status := self.runs.state()["status"]) != "running":
            self._running = False
            self._notify(f"{self.runs.title} has ended: {status}")

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Pass over a browser that hangs up."""


class _Handler(BaseHTTPRequestHandler):
    server: ReportServer
    timeout = 30.0
    server_version, sys_version = "qpipe", ""

    def do_GET(self) -> None:
        """Answer with the page, the part of it that changes, or how far the runs are."""
        if not self._is_own():
            self._answer(HTTPStatus.FORBIDDEN, _TEXT, f"only {self.server.url} itself may ask")
            return
        try:
            if self.path == "/state":
                self._answer(HTTPStatus.OK, _JSON, json.dumps(self.server.runs.state()))
            elif self.path in ("/", "/part"):
                text = self.server.runs.page(part=self.path == "/part")
                self._answer(HTTPStatus.OK, _HTML, text)
            else:
                self._answer(HTTPStatus.NOT_FOUND, _TEXT, "there is no such page")
        except QpipeError as error:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, _TEXT, str(error))

    def _is_own(self) -> bool:
        """Return whether a request comes from this machine, to this address, from its own page."""
        port = self.server.server_port
        hosts = {f"{name}:{port}" for name in (ADDRESS, "localhost")}
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        return (
            self.client_address[0] == ADDRESS
            and self.headers.get_all("Host", []) == [host]
            and host in hosts
            and origin in (None, f"http://{host}")
            and self.headers.get("Sec-Fetch-Site") in (None, "none", "same-origin")
        )

    def _answer(self, status: HTTPStatus, kind: str, text: str) -> None:
        body = text.encode("utf-8", errors="backslashreplace")
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base's own name
        """Say nothing of requests."""
