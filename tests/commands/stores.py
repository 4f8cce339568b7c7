"""Small real stores and runs for the commands' tests."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

from qpipe.core.key import Json, bytes_sha256
from qpipe.core.layout import RunPaths
from qpipe.core.manifest import Manifest, Usage, scan
from qpipe.core.store import ArtifactStore
from qpipe.report import rows, run_record
from tests.report.plans import carry_out, demo


def make(
    root: Path,
    label: str,
    *,
    size: int = 100,
    stage: str = "quantize",
    facts: Mapping[str, Json] | None = None,
    inputs: Mapping[str, Mapping[str, str]] | None = None,
    age: float = 0.0,
) -> str:
    """Commit an artifact of one file, made ``age`` seconds ago; its key."""
    store = ArtifactStore(root)
    key = bytes_sha256(label.encode())
    claim = store.claim(key)
    assert claim is not None
    (claim.folder / "model.gguf").write_bytes((label.encode() * size)[:size])
    manifest = Manifest(
        key=key,
        id=bytes_sha256(f"id of {label}".encode()),
        name=f"{stage}[{label}]",
        stage=stage,
        version=1,
        params={"type": label},
        engine={"name": "toy", "gguf": "1.0"},
        inputs=inputs or {},
        files=scan(claim.folder),
        facts=facts or {},
        usage=Usage(seconds=7.0, cpu_seconds=6.0, peak_rss=2**20),
        tools={"qpipe": "0"},
        machine={"cores": 2},
        created=time.time() - age,
    )
    artifact = store.commit(claim, manifest)
    store.close()
    used = time.time() - age
    os.utime(artifact.path, (used, used))
    return key


def path_of(root: Path, key: str) -> Path:
    return ArtifactStore(root).paths.artifact(key)


def overwrite(path: Path, data: bytes) -> None:
    """Damage a file of an artifact, read-only as it is."""
    path.parent.chmod(0o755)
    path.chmod(0o644)
    path.write_bytes(data)
    path.parent.chmod(0o555)


def flip(path: Path) -> None:
    """Turn one bit."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    overwrite(path, bytes(data))


def ended(folder: Path, name: str, *, days: float) -> RunPaths:
    """A run of a second that ended ``days`` ago."""
    paths = RunPaths(folder / "runs" / name)
    paths.root.mkdir(parents=True)
    at = time.time() - days * 86400
    events = [
        {"event": "RunStarted", "at": at - 1, "nodes": {}},
        {"event": "RunFinished", "at": at, "status": "done", "counts": {}},
    ]
    paths.events.write_text("".join(json.dumps(event) + "\n" for event in events))
    return paths


def finished_run(folder: Path, name: str = "first") -> RunPaths:
    """Carry the toy demo out below ``folder`` (store/ and runs/), as `qpipe run` leaves it."""
    planned = demo()
    result = carry_out(planned, folder / "store")
    paths = RunPaths(folder / "runs" / name)
    paths.root.mkdir(parents=True)
    compared = rows.comparison(planned, result)
    paths.summary.write_text(
        json.dumps(run_record.document(name, result.status, planned, result.outcomes, compared))
    )
    return paths
