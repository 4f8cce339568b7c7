"""Stores that earlier versions filled are hits, whatever has moved in the code since."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from tests.cli import qpipe

STORES = sorted((Path(__file__).parent / "data" / "stores").glob("*.tar.gz"))


@pytest.mark.parametrize("archive", STORES, ids=lambda path: path.name)
def test_an_old_store_gives_hits(archive: Path, tmp_path: Path) -> None:
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    answer = qpipe(
        *("run", "local", "model.source=model", "quantize=none", "quantize.dtype=fp16"),
        *("evaluate=none", "--store", "store", "--json"), cwd=tmp_path,
    )  # fmt: skip
    assert answer.code == 0, answer.stderr
    nodes = json.loads(answer.stdout)["nodes"]
    assert [(node["stage"], node["status"]) for node in nodes] == [
        ("download", "cached"),
        ("convert", "cached"),
    ]
