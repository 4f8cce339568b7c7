"""Whole runs on a file at an address: asked for, shown, locked, and then checked against that."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli import by_stage, called
from tests.file_server import serve

pytestmark = pytest.mark.slow

GgufOf = Callable[[str, str], Path]
ASKED = ("quantize=none", "evaluate=none", "executor=inline")


def test_asked_for_shown_locked_and_checked(tmp_path: Path, gguf_of: GgufOf) -> None:
    data = gguf_of("stories260K", "Q8_0").read_bytes()
    with serve({"/d/m.gguf": data}) as server:
        source = f"{server.url}/d/m.gguf"
        asked = ("local", f"model.source={source}", *ASKED)
        plan = called("plan", *asked, cwd=tmp_path)
        assert plan.code == 1
        assert "or, for one file, give model.sha256" in plan.stderr
        assert not server.requests
        # Cut on the way, and gone on from there.
        server.cuts = [100_000]
        run = called("run", *asked, "--json", cwd=tmp_path)
        assert run.code == 0, run
        assert [span for _, _, span in server.requests] == ["", "bytes=100000-"]
        locked = json.loads((tmp_path / "local.lock.json").read_text())["sources"]
        digest = locked[source]
        assert f"{source} = {digest}" in run.stderr
        answer = json.loads(run.stdout)
        assert [row["format"] for row in answer["rows"]] == ["Q8_0"]
        download = by_stage(answer["nodes"])["download"]
        manifest = json.loads(Path(download["artifact"], "manifest.json").read_text())
        assert manifest["params"]["files"] == {"m.gguf": digest.removeprefix("sha256:")}
        assert manifest["facts"]["fetched_from"] == source
        # Another store with this lock: other bytes are refused.
        server.files["/d/m.gguf"] = data[:-1] + b"x"
        other = called("run", *asked, "--store", "other", cwd=tmp_path)
        assert other.code == 1
        assert digest.removeprefix("sha256:") in other.stderr
    # Nobody is there any more: what is known and made is enough.
    again = called("run", *asked, "--json", cwd=tmp_path)
    assert again.code == 0, again
    assert {node["status"] for node in json.loads(again.stdout)["nodes"]} == {"cached"}


def test_a_signature_is_kept_nowhere(tmp_path: Path, gguf_of: GgufOf) -> None:
    with serve({"/m.gguf": gguf_of("stories260K", "Q8_0").read_bytes()}) as server:
        source = f"{server.url}/m.gguf?X-Amz-Signature=verysecret"
        run = called("run", "local", f'model.source="{source}"', *ASKED, "--json", cwd=tmp_path)
        assert run.code == 0, run
        assert all("X-Amz-Signature=verysecret" in path for _, path, _ in server.requests)
    assert "verysecret" not in run.stdout + run.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert not [path for path in files if b"verysecret" in path.read_bytes()]
