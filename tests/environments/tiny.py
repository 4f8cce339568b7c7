"""An environment that installs at once: one wheel of ten lines, made here, from no index."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path

from qpipe.environments.environment import Environment

SCRIPT = """
import os, signal, sys, time
from pathlib import Path
import tinytool

def run(job):
    return globals()[job.params["how"]](job)

def work(job):
    text = (job.inputs["model"] / "in.txt").read_text()
    for step in range(3):
        job.progress(step + 1, 3, "layers")
    (job.out / "out.txt").write_text(tinytool.shout(text))
    return {"length": len(text), "threads": job.threads, "offline": os.environ["HF_HUB_OFFLINE"]}

def modules(job):
    found = {}
    for name in ("qpipe", "pydantic", "numpy"):
        try:
            __import__(name)
            found[name] = True
        except ImportError:
            found[name] = False
    return {**found, "executable": sys.executable, "path": sys.path}

def refuse(job):
    raise job.error("CheckpointError", "config.json: no")

def unexpected(job):
    raise ValueError("nobody expected this")

def memory(job):
    raise MemoryError

def device_memory(job):
    class OutOfMemoryError(RuntimeError):
        pass
    raise OutOfMemoryError("CUDA out of memory")

def full(job):
    raise OSError(28, "No space left on device", "/somewhere/model")

def leave(job):
    sys.exit(0)

def hard(job):
    os._exit(7)

def kill(job):
    print("these are the last words", flush=True)
    os.kill(os.getpid(), job.params["signal"])
    time.sleep(60)

def allocate(job):
    held = []
    for _ in range(100):
        held.append(b"x" * (4 << 20))
        time.sleep(0.01)
    time.sleep(30)

def burn(job):
    until = time.process_time() + 0.4
    held = b"x" * (150 << 20)
    while time.process_time() < until:
        pass
    return {}

def sleep(job):
    (job.out / "pid").write_text(str(os.getpid()))
    time.sleep(60)

def serve(params, error):
    if params.get("refused"):
        raise error("CheckpointError", params["refused"])
    print("a library says something")

    def answer(request):
        if request.get("kill"):
            os.kill(os.getpid(), request["kill"])
        if request.get("error"):
            raise ValueError(request["error"])
        shouted = tinytool.shout(request["text"]).encode() * request.get("times", 1)
        return {"pid": os.getpid(), "threads": os.environ["OMP_NUM_THREADS"], **params}, shouted
    return answer
"""


def wheel(
    folder: Path,
    *,
    name: str = "tinytool",
    version: str = "1.0",
    tag: str = "py3-none-any",
    requires: Sequence[str] = (),
) -> tuple[Path, str]:
    """A wheel in ``folder``; its path and SHA-256."""
    info = f"{name}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {requirement}\n" for requirement in requires)
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}"
    files = {
        f"{name}.py": "def shout(text):\n    return text.upper()\n",
        f"{info}/METADATA": about,
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    lines = []
    for file, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        lines.append(f"{file},sha256={digest.decode()},{len(text)}")
    files[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,"]) + "\n"
    path = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(zipfile.ZipInfo(file), text)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def environment(
    folder: Path, *, sha256: str | None = None, torch: str | None = None, more: str = ""
) -> Environment:
    """An engine's files in ``folder``, with the wheel beside them; ``sha256`` is another hash,
    ``more`` are entries of the lock."""
    folder.mkdir(exist_ok=True)
    _, digest = wheel(folder)
    lines = [f"tinytool==1.0 \\\n    --hash=sha256:{sha256 or digest}\n"]
    if torch is not None:
        lines.append(f"torch=={torch}\n")
    (folder / "tiny.lock").write_text("# a lock\n" + "".join(lines) + more)
    (folder / "tiny.py").write_text(SCRIPT)
    return Environment("tiny", folder)


def settings(folder: Path) -> dict[str, str]:
    """What makes pip and uv look for wheels in ``folder`` and nowhere else."""
    return {
        "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "PIP_EXTRA_INDEX_URL": "",
        "UV_NO_INDEX": "1", "UV_FIND_LINKS": str(folder), "UV_OFFLINE": "1",
    }  # fmt: skip
