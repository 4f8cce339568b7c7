"""2 GB from a hub on loopback, digests included, beside `hf download`, which looks at none, and
beside `hf download` and `hf cache verify`, which then reads every byte again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.measure import Bench, Row, call, interleaved
from tests.hub import COMMIT, Hub, serve

_BYTES = 2_000_000_000
_SCRIPT = Path(__file__).with_name("hub_script.py")

# Ours over theirs in seconds: 0.95 of the rate.
_LIMIT = 1 / 0.95


def rows(bench: Bench) -> list[Row]:
    """Seconds from the start of each process to the end, and what ours read of files."""
    folder = bench.sub("hub")
    found: list[Row] = []
    for files in (1, 4):
        _fill(folder / f"repository-{files}", files)
    repositories = {f"random/files-{n}": folder / f"repository-{n}" for n in (1, 4)}
    with serve(repositories) as hub:
        for name, repository in repositories.items():
            hub.reader.files(repository)  # hashes them, before anyone waits for it
            found += _rows(bench, hub, name, folder)
    shutil.rmtree(folder)
    return found


def _rows(bench: Bench, hub: Hub, name: str, folder: Path) -> list[Row]:
    what = f"2 GB from a hub on loopback, {name.partition('-')[2]} of it files"
    read: list[int] = []
    works: dict[str, Callable[[], object]] = {
        "ours": partial(_ours, bench, hub, name, folder, read),
        "theirs": partial(_theirs, bench, hub, name, folder, verified=False),
        "verified": partial(_theirs, bench, hub, name, folder, verified=True),
    }
    taken = interleaved(works, rounds=bench.rounds)
    return [
        Row(what, taken["ours"], "s", "hf download", taken["theirs"], limit=_LIMIT),
        Row(what, taken["ours"], "s", "hf download, hf cache verify", taken["verified"]),
        Row(f"{what}, bytes read of files", max(read) / 1e6, "MB", limit=_BYTES / 1e8),
    ]


def _ours(bench: Bench, hub: Hub, name: str, folder: Path, read: list[int]) -> None:
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    command = (bench.python, _SCRIPT, name, COMMIT, out)
    read.append(int(call(command, cwd=folder, env=_anew(hub, folder))))


def _theirs(bench: Bench, hub: Hub, name: str, folder: Path, *, verified: bool) -> None:
    env = _anew(hub, folder)
    verbs = (("download",), ("cache", "verify")) if verified else (("download",),)
    for verb in verbs:
        command = (bench.python.parent / "hf", *verb, name, "--revision", COMMIT)
        call(command, cwd=folder, env=env)


def _anew(hub: Hub, folder: Path) -> dict[str, str]:
    """Settings with an empty cache."""
    shutil.rmtree(folder / "home", ignore_errors=True)
    own = {"HF_HOME": str(folder / "home"), "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1"}
    root = str(Path(__file__).parents[1])
    return {**os.environ, **own, "HF_HUB_DISABLE_PROGRESS_BARS": "1", "PYTHONPATH": root}


def _fill(folder: Path, files: int) -> None:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    for number in range(files):
        with (folder / f"model-{number + 1:05}-of-{files:05}.safetensors").open("wb") as file:
            for _ in range(_BYTES // files // 1_000_000):
                file.write(os.urandom(1_000_000))
