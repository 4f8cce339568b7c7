"""Every byte of a run is hashed once: a source's when it is pinned, a result's as it is made."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

import qpipe
from qpipe.core.store import ArtifactStore
from qpipe.sources.local_files import files_of, is_card
from qpipe.sources.pinning import DATA
from tests.hashed import counted

MODEL = DATA / "tinystories-d256"


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(MODEL, tmp_path / "model"))


def run(*words: str) -> None:
    asked = ("local", *words, "evaluate=none", "executor=inline")
    done = qpipe.load(*asked, sweep=True, store="store").run()
    assert all(row.status in ("ran", "cached") for row in done.rows), done.rows


def sizes(folder: Path) -> dict[str, int]:
    return {
        str(file): file.stat().st_size for file in files_of(folder) if not is_card(file, folder)
    }


def made(store: Path) -> list[int]:
    """The sizes of the files that artifacts do not link."""
    opened = ArtifactStore(store)
    artifacts = [opened.peek(key) for key in opened.all_keys()]
    files = [file for each in artifacts if each is not None for file in each.manifest.files]
    return sorted(file.size for file in files if file.mtime_ns is None)


def split(
    hashed: Mapping[str, int], sources: Mapping[str, int]
) -> tuple[dict[str, int], list[int]]:
    """Bytes hashed of sources by file, and of anything else in ascending order."""
    of_sources = {file: count for file, count in hashed.items() if file in sources}
    return of_sources, sorted(n for file, n in hashed.items() if file not in sources)


def test_from_a_checkpoint_to_levels(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = counted(monkeypatch)
    run(f"model.source={model}", "quantize.type=Q8_0,F16")
    of_sources, others = split(hashed, sizes(model))
    assert of_sources == sizes(model)
    assert others == made(Path("store"))
    hashed.clear()
    run(f"model.source={model}", "quantize.type=Q8_0")
    assert not hashed


@pytest.mark.parametrize("dtype", ["none", "source"])
def test_as_a_file_in_half_precision_and_linked_as_it_is(
    model: Path, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = counted(monkeypatch)
    run(f"model.source={model}", "quantize=none", f"quantize.dtype={dtype}")
    of_sources, others = split(hashed, sizes(model))
    assert of_sources == sizes(model)
    assert others == made(Path("store"))
