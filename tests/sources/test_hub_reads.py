"""The bytes of a file from the hub are read from the disk never, or as far as they were there."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli import environment
from tests.hub import COMMIT, serve

IO = Path("/proc/self/io")
pytestmark = pytest.mark.skipif(not IO.is_file(), reason="the kernel does not count reads here")

# What the worker does of a download, and the bytes that it reads of files meanwhile.
STAGE = f"""
import sys
from pathlib import Path
import httpx, huggingface_hub.file_download, huggingface_hub.hf_api, tqdm, hashlib, filelock
from qpipe.core.digests import Digests
from qpipe.core.manifest import scan
from qpipe.sources.download import Download, DownloadParams
from qpipe.stages.base import Work

def read():
    return int(Path("{IO}").read_text().split()[1])

folder = Path(sys.argv[1])
params = DownloadParams(kind="model", repo="someone/model", commit="{COMMIT}")
seen = []
work = Work(inputs={{}}, out=folder, threads=2, progress=lambda *at: seen.append(at),
            where={{"name": "model"}}, digests=Digests(folder.parent / "hashes"))
before = read()
facts = Download().run(params, work)
(entry,) = [one for one in scan(folder, hashed=work.hashed, threads=2) if one.size > 9999]
print(read() - before, entry.sha256, *seen[-1], facts["notes"])
"""


def test_the_bytes_are_hashed_as_they_come(tmp_path: Path) -> None:
    data = random.Random(1).randbytes(24_000_000)
    sha256 = hashlib.sha256(data).hexdigest()
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "model.safetensors").write_bytes(data)
    (tmp_path / "repository" / "config.json").write_text("{}")
    blobs = tmp_path / "hf" / "hub" / "models--someone--model" / "blobs"

    def stage(out: str, url: str) -> tuple[int, str]:
        (tmp_path / out).mkdir()
        env = {"HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": url, "HF_HUB_DISABLE_XET": "1"}
        command = [sys.executable, "-c", STAGE, str(tmp_path / out)]
        done = subprocess.run(command, env=environment(env), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        read, rest = done.stdout.strip().split(" ", 1)
        return int(read), rest

    with serve({"someone/model": tmp_path / "repository"}) as hub:
        right = f"{sha256} {len(data) + 2} {len(data) + 2} bytes []"
        read, said = stage("first", hub.url)
        assert said == right
        assert read < len(data) // 10  # what Python imports
        for path in blobs.parent.rglob("*"):
            if path.is_symlink() or path.parent == blobs:
                path.unlink()
        there = 10_000_001
        (blobs / f"{sha256}.incomplete").write_bytes(data[:there])
        read, said = stage("resumed", hub.url)
        assert said == right
        assert there <= read < there + len(data) // 10
        assert f"bytes={there}-" in {one.range for one in hub.seen}
        # Damage in what was there is found, and all of it fetched anew.
        for path in blobs.parent.rglob("*"):
            if path.is_symlink() or path.parent == blobs:
                path.unlink()
        (blobs / f"{sha256}.incomplete").write_bytes(bytes(there))
        assert stage("damaged", hub.url)[1] == right
