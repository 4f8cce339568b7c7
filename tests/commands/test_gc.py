"""gc on small real stores and runs, through the real command line."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from qpipe.core.manifest import scan
from qpipe.core.store import ArtifactStore
from tests.cli import Answer, called
from tests.commands.stores import ended, make, path_of
from tests.core.synthetic import manifest


def ask(folder: Path, *words: str) -> Answer:
    return called(*words, "--store", str(folder / "store"), cwd=folder)


def ask_json(folder: Path, *words: str) -> Any:
    answer = ask(folder, *words, "--json")
    return json.loads(answer.stdout)


def test_a_dry_run_says_what_gc_then_does(tmp_path: Path) -> None:
    keys = [make(tmp_path / "store", str(n), size=1000, age=100.0 * n) for n in range(4)]
    dry = ask_json(tmp_path, "gc", "--max-size", "2500", "--dry-run")
    assert len(ask_json(tmp_path, "ls")["artifacts"]) == 4
    wet = ask_json(tmp_path, "gc", "--max-size", "2500")

    assert dry["dry_run"] is True
    assert wet["dry_run"] is False
    assert [c["key"] for c in dry["removed"]] == [c["key"] for c in wet["removed"]]
    assert dry["freed_bytes"] == wet["freed_bytes"] >= 2000
    assert dry["rebuild_seconds"] == wet["rebuild_seconds"] == 7.0 * len(wet["removed"])
    left = {e["key"] for e in ask_json(tmp_path, "ls")["artifacts"]}
    assert left == set(keys) - {c["key"] for c in wet["removed"]}
    assert keys[0] in left, "the last used stays"
    assert keys[3] not in left


def test_gc_by_age_says_it_in_words(tmp_path: Path) -> None:
    make(tmp_path / "store", "new")
    old = make(tmp_path / "store", "old", age=3 * 86400)
    answer = ask(tmp_path, "gc", "--max-age", "2d", "--dry-run")
    head, line, last = answer.stdout.splitlines()
    assert head.split() == ["KEY", "MODEL", "NAME", "FREES", "UNUSED", "TO", "REBUILD", "WHY"]
    assert line.split()[:2] == [old[:12], "quantize[old]"]
    assert line.split()[-4:] == ["3d", "7.00", "s", "age"]
    assert last.startswith("would remove 1 artifact(s), ")
    assert "(7.00 s to make again); would keep 1, " in last


def test_gc_by_size_takes_what_is_cheap_and_says_what_it_costs(tmp_path: Path) -> None:
    make(tmp_path / "store", "ppl", stage="evaluate", age=9 * 86400)
    cheap = make(tmp_path / "store", "cheap", size=7_000_000)
    dry = ask_json(tmp_path, "gc", "--max-size", "100k", "--dry-run")
    answer = ask(tmp_path, "gc", "--max-size", "100k")
    assert answer.stdout.splitlines()[1].split()[0] == cheap[:12]
    assert answer.stdout.splitlines()[1].endswith("size, 1.00 s per MB")
    assert dry["schema"] == "qpipe.gc/1"
    assert [(c["key"], c["stage"], c["why"]) for c in dry["removed"]] == [
        (cheap, "quantize", "size")
    ]
    assert [e["stage"] for e in ask_json(tmp_path, "ls")["artifacts"]] == ["evaluate"]


def test_gc_says_what_runs_folders_hold(tmp_path: Path) -> None:
    key = make(tmp_path / "store", "model", size=5_000_000)
    os.link(path_of(tmp_path / "store", key) / "model.gguf", tmp_path / "model.gguf")
    answer = ask(tmp_path, "gc", "--max-size", "1MB")
    assert "4.77 MiB of what is kept are links to files elsewhere" in answer.stdout
    assert "qpipe rm" not in answer.stdout
    assert ask_json(tmp_path, "gc", "--max-age", "9d")["kept"][0]["linked_bytes"] == 5_000_000


@pytest.mark.parametrize("limit", [("--max-size", "1MB"), ("--max-age", "1d")])
def test_what_gc_says_frees_what_runs_hold(limit: tuple[str, str], tmp_path: Path) -> None:
    """By size what runs hold is kept, for nothing would come free; by age it goes."""
    key = make(tmp_path / "store", "model", size=5_000_000, age=9 * 86400)
    file = path_of(tmp_path / "store", key) / "model.gguf"
    for run in ("one", "two"):
        paths = ended(tmp_path, run, days=2 + (run == "one"))
        (paths.root / "models").mkdir()
        os.link(file, paths.root / "models" / "tiny.gguf")
    before = file.stat()
    places = ("--runs", str(tmp_path / "runs"))
    by_size = limit[0] == "--max-size"
    document = ask_json(tmp_path, "gc", *limit, *places, "--dry-run")
    held = document["kept_held_by_runs" if by_size else "removed_held_by_runs"]
    assert held == {"bytes": 5_000_000, "runs": ["one", "two"]}
    first, command = ask(tmp_path, "gc", *limit, *places).stdout.splitlines()[-2:]
    assert first.startswith("2 runs' folders hold 4.77 MiB of what ")
    assert command == (
        f"  qpipe rm --models one two --store {tmp_path / 'store'} --runs {tmp_path / 'runs'}"
    )
    with file.open() if by_size else (tmp_path / "runs/one/models/tiny.gguf").open() as opened:
        removed = called(*command.split()[1:], cwd=tmp_path)
        assert removed.code == 0
        assert os.fstat(opened.fileno()).st_nlink == int(by_size)
        freed = ask_json(tmp_path, "gc", *limit, *places)["freed_bytes"] if by_size else 0
        assert os.fstat(opened.fileno()).st_nlink == 0, "the bytes are free"
        assert (freed >= before.st_size) == by_size
    assert (tmp_path / "runs" / "one" / "events.jsonl").is_file(), "records stay"


def test_of_many_runs_gc_says_how_old_they_are(tmp_path: Path) -> None:
    key = make(tmp_path / "store", "model", size=5_000_000)
    for days in range(3, 8):
        (models := ended(tmp_path, f"r{days}", days=days).root / "models").mkdir()
        os.link(path_of(tmp_path / "store", key) / "model.gguf", models / "tiny.gguf")
    said = ask(tmp_path, "gc", "--max-size", "1MB", "--runs", str(tmp_path / "runs")).stdout
    assert f"\n  qpipe rm --models --runs-older-than 3d --store {tmp_path}" in said
    rm = ("rm", "--models", "--runs-older-than", "3d", "--json", "--runs", f"{tmp_path}/runs")
    document = json.loads(ask(tmp_path, *rm).stdout)
    assert [run["held_bytes"] for run in document["runs"]] == [5_000_000] * 5
    assert not [*(tmp_path / "runs").glob("*/models")]


def test_a_store_that_was_copied_without_times_is_whole(tmp_path: Path) -> None:
    store, file = tmp_path / "first", tmp_path / "source.gguf"
    file.write_bytes(b"x" * 1000)
    claim = ArtifactStore(store).claim("ab" * 32)
    assert claim is not None
    os.link(file, claim.folder / file.name)
    linked = manifest(claim.key, scan(claim.folder))
    ArtifactStore(store).commit(claim, linked)
    make(store, "own")
    shutil.copytree(store, tmp_path / "store", copy_function=shutil.copyfile)
    file.write_bytes(b"y")
    assert ask(tmp_path, "verify").stdout == "2 of 2 artifact(s) are whole\n"
    assert ArtifactStore(tmp_path / "store").lookup(claim.key)[1] is None
