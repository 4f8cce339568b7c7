"""The report of a run that goes on: who may ask for it, and what it says."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from qpipe.errors import UsageError
from qpipe.session.report_server import ADDRESS, ReportServer
from qpipe.session.watched_runs import WatchedRuns
from tests.commands.stores import finished_run
from tests.session.watching import GoingRun, served


@pytest.fixture
def run(tmp_path: Path) -> GoingRun:
    return GoingRun(tmp_path)


@pytest.fixture
def server(run: GoingRun) -> Iterator[ReportServer]:
    with served(run, []) as server:
        yield server


def asked(
    server: ReportServer, path: str, method: str = "GET", **headers: str
) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(ADDRESS, server.server_port, timeout=20)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, headers=named)
    return connection.getresponse()


def test_a_page_that_follows_the_run(run: GoingRun, server: ReportServer) -> None:
    page = asked(server, "/").read().decode()
    first = json.loads(asked(server, "/state").read())
    assert f'<body data-version="{first["version"]}"' in page
    assert "connect-src 'self'" in page
    assert (first["status"], first["ended"]) == ("running", 0)
    assert first["nodes"] == len(run.document["nodes"])
    run.write(rows=2)
    second = json.loads(asked(server, "/state").read())
    assert second["version"] != first["version"]
    part = asked(server, "/part").read().decode()
    assert part.count("<tr data-id=") + part.count('<tr class="reference" data-id=') == 2
    assert len(part) < len(page) / 10, "no library"
    run.end()
    last = json.loads(asked(server, "/state").read())
    assert (last["status"], last["ended"]) == ("done", last["nodes"])


def test_whoever_may_not_ask(server: ReportServer) -> None:
    port = server.server_port
    for headers in (
        {"Host": f"evil.example:{port}"},
        {"Host": ADDRESS},
        {"Host": f"{ADDRESS}:{port + 1}"},
        {"Host": f"{ADDRESS}.evil.example:{port}"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": f"http://localhost:{port}"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ):
        for path in ("/", "/part", "/state", "/x"):
            answer = asked(server, path, **headers)
            assert answer.status == 403, headers
            assert b"version" not in answer.read()


def test_whoever_may(server: ReportServer) -> None:
    own = f"{ADDRESS}:{server.server_port}"
    for headers in (
        {},
        {"Host": f"localhost:{server.server_port}"},
        {"Origin": f"http://{own}", "Sec_Fetch_Site": "same-origin"},
        {"Sec_Fetch_Site": "none"},
    ):
        answer = asked(server, "/state", **headers)
        assert answer.status == 200, headers
        given = {name.lower() for name in answer.headers}
        assert not [name for name in given if name.startswith("access-control")]
        assert answer.headers["Cache-Control"] == "no-store"
    assert asked(server, "/../run.json").status == 404
    for method in ("POST", "PUT", "OPTIONS", "DELETE"):
        assert asked(server, "/state", method).status == 501


def test_it_listens_on_the_loopback_address_alone(server: ReportServer) -> None:
    assert server.socket.getsockname()[0] == ADDRESS
    elsewhere = next(
        (a[4][0] for a in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)), ADDRESS
    )
    if not str(elsewhere).startswith("127."):
        with pytest.raises(OSError):
            socket.create_connection((str(elsewhere), server.server_port), timeout=5)


def test_a_run_that_is_gone(run: GoingRun, server: ReportServer) -> None:
    run.paths.summary.unlink()
    answer = asked(server, "/part")
    assert answer.status == 503
    assert b"there is no run" in answer.read() or answer.status


def test_the_end_is_said_once(run: GoingRun) -> None:
    notes: list[str] = []
    with served(run, notes):
        assert notes == []
        run.end()
        for _ in range(100):
            if notes:
                break
            time.sleep(0.1)
        time.sleep(1.2)
    assert notes == ["first has ended: done"]


def test_ports_that_cannot_be_had(run: GoingRun, server: ReportServer) -> None:
    runs = WatchedRuns(["first"], run.paths.root.parent)
    for port in (server.server_port, 70_000, -1):
        with pytest.raises(UsageError, match=f"--port {port}: .*; name another"):
            ReportServer(runs, port=port)


def test_the_verb_ends_with_ctrl_c(tmp_path: Path) -> None:
    finished_run(tmp_path)
    command = [sys.executable, "-m", "qpipe", "report", "first", "--watch", "--runs"]
    process = subprocess.Popen(
        [*command, str(tmp_path / "runs")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\n", line)
        with urllib.request.urlopen(line.strip(), timeout=60) as page:  # so it serves
            assert page.status == 200
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, out, err) == (0, "", "the report of first, until Ctrl-C\n")


def test_what_does_not_go_with_watching(tmp_path: Path) -> None:
    from qpipe.cli import main

    for more in (["--format", "md"], ["-o", "x.html"], ["--json"]):
        assert main(["report", "latest", "--watch", *more]) == 2
    assert main(["report", "latest", "--port", "80"]) == 2
