"""A manifest whose SHA-256 is right, and which qpipe did not write: no field of it is trusted."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from qpipe.core import key
from qpipe.core.layout import MANIFEST
from qpipe.core.manifest import DamagedError, FileEntry, Manifest, misfit
from qpipe.errors import StoreError

GOOD = Manifest(
    key="k" * 64,
    id="i" * 64,
    name="quantize[Q4_0]",
    stage="quantize",
    version=1,
    params={"type": "Q4_0"},
    engine={"name": "toy"},
    inputs={"model": {"key": "a", "digest": "b", "name": "c"}},
    files=[FileEntry("a/model.gguf", 3, "s" * 64), FileEntry("l\udcff", 0, "s", 17)],
    facts={"ppl": 8.5},
    created=1e9,
)
SHA = "0" * 64


def forged(folder: Path, changes: dict[tuple[str | int, ...], Any]) -> Path:
    """GOOD with other values at some places, its digests right again."""
    record = json.loads(GOOD.dump())
    for where, value in changes.items():
        inner = record
        for name in where[:-1]:
            inner = inner[name]
        if value is ...:
            del inner[where[-1]]
        else:
            inner[where[-1]] = value
    record["sha256"] = SHA
    try:
        files = [(entry["path"], entry["size"], entry["sha256"]) for entry in record["files"]]
        record["digest"] = key.content_digest(files)
    except (TypeError, KeyError, AttributeError, ValueError):
        pass  # such a digest cannot be made; nothing reads that far
    data = json.dumps(record).encode()
    (folder / MANIFEST).write_bytes(data.replace(SHA.encode(), key.bytes_sha256(data).encode()))
    return folder


def test_a_good_one_is_read(tmp_path: Path) -> None:
    assert Manifest.load(forged(tmp_path, {})) == GOOD
    assert Manifest.load(forged(tmp_path, {("facts", "ppl"): 7.0})).facts == {"ppl": 7.0}


VALUES: tuple[Any, ...] = (
    *(None, True, -1, 1 << 70, 1e300, float("nan"), float("inf"), "", "\ud800", [], {}, [[]], ...),
)
PLACES = (
    *((name,) for name in json.loads(GOOD.dump())),
    *(("usage", name) for name in ("seconds", "peak_rss", "more")),
    *(("inputs", name) for name in ("model", "more")),
    *(("files", 0), ("files", 0, "path"), ("files", 0, "size"), ("files", 1, "mtime_ns")),
    *(("inputs", "model", "name"), ("facts", "ppl"), ("params", "type")),
)


@pytest.mark.parametrize("where", PLACES, ids=str)
def test_any_value_anywhere_is_read_or_damage(where: tuple[str | int, ...], tmp_path: Path) -> None:
    for value in VALUES:
        if where[-1] == "more" and value is ...:
            continue
        try:
            manifest = Manifest.load(forged(tmp_path, {where: value}))
        except StoreError as error:
            assert isinstance(error, DamagedError) or where == ("qpipe",)
            continue
        # What is taken can be written, shown and looked for.
        json.loads(manifest.dump())
        assert all(isinstance(name, str) for name in (manifest.name, manifest.stage, manifest.key))
        assert manifest.size + manifest.usage.seconds + manifest.created >= 0
        for entry in manifest.files:
            misfit(tmp_path, entry)
        assert {type(source["name"]) for source in manifest.inputs.values()} <= {str}


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "a\0b", "\ud800"])
def test_a_file_outside_its_folder(path: str, tmp_path: Path) -> None:
    with pytest.raises(DamagedError, match="the manifest is damaged"):
        Manifest.load(forged(tmp_path, {("files", 0, "path"): path}))


def test_pipes_are_neither_manifests_nor_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.gguf")
    assert misfit(tmp_path, FileEntry("model.gguf", 0, "s")) == "model.gguf is no file"
    os.mkfifo(tmp_path / MANIFEST)
    with pytest.raises(DamagedError, match="no such manifest"):
        Manifest.load(tmp_path)
