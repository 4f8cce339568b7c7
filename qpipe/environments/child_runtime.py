"""`ENVIRONMENT/bin/python -I plain.py FOLDER FD`: one job, in an engine's own environment.

The other side of `qpipe.environments.call`. Standard library only, and nothing else of ours: the
environment has neither qpipe nor pydantic. ``job.json`` in FOLDER
names the script and holds parameters that were validated before; progress (lists) and notes
(strings) go to the descriptor FD, a JSON line each; ``result.json`` appears whole at the end, with
``{"facts", "tools"}`` or ``{"error": {"type", "message"}}``, where the type is a class of
qpipe.errors.

A script is a file with ``run(job: ScriptWork) -> dict``: it fills ``job.out`` and returns facts.
"""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

JOB, RESULT = "job.json", "result.json"

_FULL = (errno.ENOSPC, errno.EDQUOT)


class ScriptError(Exception):
    """An error that a script found: ``kind`` is the name of a class of qpipe.errors."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class ScriptWork:
    """A request to a script: the attributes are those of `qpipe.stages.base.Work`, and params."""

    def __init__(
        self,
        record: dict[str, Any],
        progress: Callable[[int, int, str], None],
        note: Callable[[str], None],
    ) -> None:
        """``record`` is job.json's content."""
        self.params: dict[str, Any] = record["params"]
        self.inputs = {role: Path(path) for role, path in record["inputs"].items()}
        self.out = Path(record["out"])
        self.partial = Path(record["partial"]) if record["partial"] else None
        self.threads: int = record["threads"]
        self.progress = progress
        self.note = note

    def error(self, kind: str, message: str) -> ScriptError:
        """The error to raise for something that the user can act on."""
        return ScriptError(kind, message)

    def check_rotary(self, model: Any) -> None:
        """Raise unless a model's positions are those of ``params["rope_theta"]`` (None: unknown).

        inv_freq[i] = theta^(-2i/d), so its second entry tells theta (Su et al. 2021, section
        3.2.2); scaled embeddings are left alone.
        """
        stated = self.params["rope_theta"]
        rotary = getattr(getattr(model, "model", None), "rotary_emb", None)
        if stated is None or rotary is None or rotary.rope_type != "default":
            return
        frequencies = rotary.inv_freq
        base = float(frequencies[1]) ** -frequencies.numel()
        if abs(base / stated - 1) > 1e-3:
            raise self.error(
                "CheckpointError",
                f"the model was loaded with a rotary base of {base:.0f}, and its config says "
                f"{stated:.0f}: transformers {_version('transformers')} reads it in other words",
            )


def main(folder: Path, fd: int) -> int:
    """Run the job in ``folder``; 0 if it succeeded."""
    os.set_inheritable(fd, False)  # or whatever the script starts would keep the pipe open
    record = json.loads((folder / JOB).read_text())
    die_with(record["parent"])

    def progress(done: int, total: int, unit: str) -> None:
        os.write(fd, json.dumps([done, total, unit]).encode() + b"\n")

    def note(words: str) -> None:
        os.write(fd, json.dumps(words).encode() + b"\n")

    result = perform(record, progress, note)
    temporary = folder / (RESULT + ".partial")
    temporary.write_text(json.dumps(result))
    temporary.replace(folder / RESULT)
    return 1 if "error" in result else 0


def perform(
    record: dict[str, Any],
    progress: Callable[[int, int, str], None],
    note: Callable[[str], None] = lambda words: None,
) -> dict[str, Any]:
    """The result record of a job; what goes wrong becomes part of it."""
    try:
        script = load(Path(record["script"]))
        _require_device(record["device"])
        facts = script.run(ScriptWork(record, progress, note))
        return {
            "facts": facts,
            "tools": {name: _version(name) for name in record["tools"]},
            **_computed_on(record["device"], record["threads"]),
        }
    except BaseException as error:  # noqa: BLE001  the process boundary
        return failure(error)


def failure(error: BaseException) -> dict[str, Any]:
    """The record of what a script raised: ``{"error": {"type", "message"}}``; what is not ours is a
    crash. Raises what only ends a process: KeyboardInterrupt."""
    kind, message = "WorkerCrashError", f"unexpected {type(error).__name__}: {error}"
    if isinstance(error, ScriptError):
        return {"error": {"type": error.kind, "message": str(error)}}
    if isinstance(error, MemoryError):
        return {"error": {"type": "OutOfMemoryError", "message": "memory ran out"}}
    if not isinstance(error, (Exception, SystemExit)):
        raise error
    traceback.print_exception(type(error), error, error.__traceback__)
    if isinstance(error, OSError):
        kind = {errno.ENOMEM: "OutOfMemoryError"}.get(error.errno or 0, kind)
        kind = "OutOfSpaceError" if error.errno in _FULL else kind
        message = f"{type(error).__name__}: {error}"
    elif isinstance(error, SystemExit):
        message = f"the script called sys.exit({error.code!r})"
    # torch.OutOfMemoryError, which is no MemoryError: the accelerator's ran out.
    elif any(cls.__name__ == "OutOfMemoryError" for cls in type(error).__mro__):
        kind = "OutOfMemoryError"
    return {"error": {"type": kind, "message": message}}


def _computed_on(device: str, threads: int) -> dict[str, Any]:
    """Return what `qpipe.hf.device.computed_on` says of the torch that was imported; nothing
    without one."""
    torch = sys.modules.get("torch")
    if torch is None:
        return {}
    if device == "cuda":
        return {"computed_on": {"device": device, "gpu": torch.cuda.get_device_name(0)}}
    instructions = torch.backends.cpu.get_cpu_capability()
    own = {"device": device, "instructions": instructions, "threads": threads}
    return {"computed_on": own}


def _require_device(device: str) -> None:
    """Raise if torch, which the script imports, sees a GPU that it was not given, or none though it
    was: the tools choose by what they see."""
    torch = sys.modules.get("torch")
    if torch is None or (device == "cuda") == torch.cuda.is_available():
        return
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    where = "" if shown is None else f" with CUDA_VISIBLE_DEVICES={shown}"
    if device == "cuda":
        raise ScriptError(
            "EngineMissingError",
            f"it was planned for a GPU (device=cuda), and torch {torch.__version__} (CUDA "
            f"{torch.version.cuda}) sees none in this process{where}",
        )
    raise ScriptError(
        "StageError",
        f"it was planned for the CPU (device=cpu), and would take the GPU that it sees{where}; "
        "take executor=local, which hides it, or set CUDA_VISIBLE_DEVICES=",
    )


def load(path: Path) -> Any:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location(path.stem + "_script", path)
    assert spec is not None and spec.loader is not None, path
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "missing"


def die_with(parent: int) -> None:
    """End this process soon after the worker that started it."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="watch-parent").start()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
