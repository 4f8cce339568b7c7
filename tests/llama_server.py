"""llama-server as a program: the server of llama.cpp that the wheel xllamacpp brings, with those of
the program's options that qpipe gives it."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

import pytest


def on_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put it into ``folder``, and that in front of PATH."""
    program = folder / "llama-server"
    program.write_text(f"#!{sys.executable}\nfrom tests.llama_server import main\nmain()\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    root = str(Path(__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", root, prepend=os.pathsep)


def main() -> None:
    """Serve until SIGTERM."""
    import xllamacpp

    if "--version" in sys.argv:
        print(f"version: xllamacpp {xllamacpp.__version__}")
        return
    parser = argparse.ArgumentParser()
    for name in ("-m", "--host", "--port", "-np", "-c", "-t", "-tb", "-ctk", "-ctv", "-fa", "-ngl"):
        parser.add_argument(name)
    parser.add_argument("--device")
    parser.add_argument("--no-webui", action="store_true")
    asked = parser.parse_args()
    params = xllamacpp.CommonParams()
    params.model.path, params.hostnames, params.port = asked.m, [asked.host], int(asked.port)
    params.n_parallel, params.n_ctx = int(asked.np), int(asked.c)
    params.cpuparams.n_threads = int(asked.t)
    params.api_keys = [os.environ["LLAMA_API_KEY"]]
    server = xllamacpp.Server(params)
    print("listening on", server.listening_address, flush=True)
    signal.sigwait([signal.SIGTERM])
    del server
