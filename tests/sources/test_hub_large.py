"""A large file from the hub, whose bytes come from the connection itself, through every fault."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli import environment
from tests.hub import COMMIT, Cut, Damaged, Fault, Short, Stall, serve

DATA = random.Random(5).randbytes(10_000_001)
MIDDLE = 9_000_001

FETCH = f"""
import sys
from qpipe.errors import QpipeError
from qpipe.sources import body, hub
from qpipe.sources.hub_source import HubSource

direct, one = [], body._from_connection
body._from_connection = lambda answer, left: (direct.append(left), one(answer, left))[1]
for name in sys.argv[1:]:
    source = HubSource(f"someone/{{name}}", "model", "{COMMIT}", "m.gguf")
    direct.clear()
    try:
        (file,) = hub.fetch(source)
        print(name, len(direct), file.sealed.sha256, file.path.resolve().stat().st_size)
    except QpipeError as error:
        print(name, len(direct), "refused", error)
"""


@pytest.mark.slow
def test_it_is_whole_or_refused(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "m.gguf").write_bytes(DATA)
    faults: dict[str, list[Fault]] = {
        "well": [],
        "cut": [Cut(after=MIDDLE)],
        "reset": [Cut(after=MIDDLE, reset=True)],
        "silent": [Stall(after=MIDDLE, seconds=1.5)],
        "damaged": [Damaged()],
        "short": [Short(count=1000)],
        "twice": [Damaged(), Damaged()],
        "shorter": [Short(count=1), Short(count=1)],
    }
    with serve({f"someone/{name}": tmp_path / "model" for name in faults}) as hub:
        for name, each in faults.items():
            for fault in each:
                hub.fail(f"/cdn/someone%2F{name}/", fault)
        env = {"HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1",
               "HF_HUB_DOWNLOAD_TIMEOUT": "1"}  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", FETCH, *faults],
            env=environment(env), capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        asked = {
            name: [s.range for s in hub.seen if s.method == "GET" and f"2F{name}/" in s.path]
            for name in faults
        }
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line.split(maxsplit=2) for line in done.stdout.splitlines()}
    right = f"{hashlib.sha256(DATA).hexdigest()} {len(DATA)}"
    for name in ("well", "cut", "reset", "silent", "damaged", "short"):
        assert lines[name][2] == right, lines[name]
    for name in ("twice", "shorter"):
        assert "came damaged, twice" in lines[name][2]
    assert {name: int(line[1]) for name, line in lines.items()} == {
        **dict.fromkeys(["well", "cut", "reset", "silent"], 1),
        **dict.fromkeys(["damaged", "short", "twice", "shorter"], 2),
    }
    assert asked["well"] == [None]
    assert asked["cut"] == asked["silent"] == [None, f"bytes={MIDDLE}-"]
    assert asked["damaged"] == asked["short"] == [None, None]
    assert not [path for path in (tmp_path / "hf").rglob("*.incomplete") if path.stat().st_size]
