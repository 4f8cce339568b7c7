"""Drafts that were composed before from the same files, overrides and versions.

A remembered draft names its witnesses: everything whose change could have changed it. It counts
only while each of them is as it was; what cannot be witnessed (the time of day, a sweeper that
looks at results) is never remembered. Hydra is not imported here: that is the point.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import qpipe
from qpipe.core import file_lock
from qpipe.core.key import Json, composition_key
from qpipe.errors import RecipeError
from qpipe.machine import capacity, gpus
from qpipe.machine.filesystem import executable
from qpipe.recipe.request import Request, find_recipe
from qpipe.recipe.witnesses import Witnesses
from qpipe.support.addresses import without_secrets

_FORMAT = 3

# What a note that is not there, cut short or of another make ends in.
_UNUSABLE = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError),
)


def recall(
    folder: Path, request: Request, *, cwd: Path, circumstances: Mapping[str, Json] | None = None
) -> Any | None:
    """The payload that was remembered for this request, if everything is as it was then.

    ``circumstances`` are what `here` says, for who asks often.
    """
    if request.flags:
        return None
    try:
        record = json.loads(_file(folder, request, cwd).read_bytes())
        if record["format"] != _FORMAT or record["here"] != (circumstances or here()):
            return None
        return record["payload"] if Witnesses(**record["witnesses"]).unchanged() else None
    except (*_UNUSABLE, RecipeError):
        # Not there, cut short, or of another make: composing says what is wrong with a recipe.
        return None


def remember(
    folder: Path,
    request: Request,
    witnesses: Witnesses | None,
    payload: Mapping[str, Any],
    *,
    cwd: Path | None = None,
) -> bool:
    """Keep ``payload`` for `recall`; False if it may not or cannot be kept.

    Not where there is an address with a query in it, which may be a signature. A disk that is full
    or read-only is no error: the recipe is composed anew next time.
    """
    if witnesses is None or request.flags:
        return False
    text = json.dumps([*request.overrides, payload], ensure_ascii=False)
    if without_secrets(text) != text:
        return False
    record = {
        "format": _FORMAT,
        "here": here(),
        "witnesses": asdict(witnesses),
        "payload": payload,
    }
    path = _file(folder, request, cwd or Path.cwd())
    try:
        file_lock.write_atomic(path, json.dumps(record).encode(), sync=False)
    except OSError:
        return False
    return True


def _file(folder: Path, request: Request, cwd: Path) -> Path:
    return folder / composition_key(asked(request, cwd))


def asked(request: Request, cwd: Path) -> list[Json]:
    """Return all that tells one request in the folder ``cwd`` from others. Raises RecipeError."""
    recipe = str(find_recipe(request.recipe))
    alone: list[Json] = ["alone"] if request.alone else []
    return [recipe, list(request.overrides), request.multirun, str(cwd), *alone]


def here() -> dict[str, Json]:
    """Describe this machine and interpreter, this qpipe and what is installed beside it.

    Of programs on PATH those count by which a stage's fingerprint differs.
    """
    return {
        "machine": os.uname().nodename,
        "programs": [
            _program(name)
            for name in ("llama-bench", "llama-perplexity", "llama-quantize", "llama-server")
        ],
        "python": sys.version,
        "executable": sys.executable,
        "pythonpath": os.environ.get("PYTHONPATH"),
        "cpus": capacity.usable_cores(),
        "gpus": gpus.visible(),
        "code": _code_digest(),
        "installed": [[path, os.stat(path).st_mtime_ns] for path in _site_packages()],  # noqa: PTH116
    }


def _program(name: str) -> list[Json] | None:
    """The path of a program on PATH, its size and its time (ns); None if it is not there."""
    path = executable(name)
    if path is None:
        return None
    stat = path.stat()
    return [str(path), stat.st_size, stat.st_mtime_ns]


def _site_packages() -> list[str]:
    names = ("site-packages", "dist-packages")
    return [path for path in sys.path if path.endswith(names) and Path(path).is_dir()]


def _code_digest() -> str:
    """One digest of the place, size and time of every source file and lock of qpipe."""
    root = os.path.dirname(os.path.abspath(qpipe.__file__))  # noqa: PTH100, PTH120
    lines = "\n".join(sorted(f"{path} {size} {time}" for path, size, time in _source_files(root)))
    return hashlib.sha256(lines.encode()).hexdigest()


def _source_files(folder: str) -> Iterator[tuple[str, int, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name != "__pycache__":
                    yield from _source_files(entry.path)
            elif entry.name.endswith((".py", ".lock")):
                stat = entry.stat()
                yield entry.path, stat.st_size, stat.st_mtime_ns
