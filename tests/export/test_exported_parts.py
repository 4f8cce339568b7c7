"""A folder with all that goes along: parts, an importance matrix, levels; its names and sizes."""

from __future__ import annotations

import shutil
from pathlib import Path

import gguf
import numpy as np
import pytest

import qpipe
from qpipe.core.digests import Digests
from qpipe.core.manifest import FileEntry, Manifest
from qpipe.core.store import Artifact
from qpipe.errors import UsageError
from qpipe.export import verifying
from qpipe.export.files import place_model
from qpipe.export.gguf_name import PATTERN
from qpipe.export.model import ExportedModel
from qpipe.export.names import ExportName
from qpipe.export.target import Export
from qpipe.results.comparison import Comparison, ModelRow
from qpipe.session.export import ExportOptions, export
from tests.cli import called
from tests.export.test_export_names import hub_label, llama_cpp_finds

MB = 10**6


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts")
    qpipe.load(
        "local", "model.source=builtin:tinystories-d256", "quantize.type=Q8_0,Q4_K_M",
        "imatrix=calibrated", "calibration.samples=4", "calibration.length=128", "evaluate=none",
        sweep=True, store=folder / "store", runs=folder / "runs",
    ).run()  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def whole(made: Path) -> Path:
    """An export in parts of a megabyte."""
    options = ExportOptions(split_size=MB)
    out = made / "out"
    export(["latest"], "folder", out, store=made / "store", runs=made / "runs", options=options)
    return out


def test_every_name_of_a_folder_is_read_back(whole: Path) -> None:
    """By the convention all of them; by the hub and llama.cpp those of models, as their format."""
    names = sorted(file.name for file in whole.glob("*.gguf"))
    assert len(names) > 6
    for name in names:
        parts = PATTERN.fullmatch(name)
        assert parts is not None, name
        assert (parts["base"], parts["size"]) == ("tinystories-d256", "3.4M")
        if parts["encoding"] == "imatrix":
            assert hub_label(name) is None
        else:
            assert parts["encoding"] == hub_label(name) and parts["shard"] is not None
            assert llama_cpp_finds(parts["encoding"], names) == name.replace(
                parts["shard"], f"00001-of-{parts['shard'][-5:]}"
            )
    assert {hub_label(name) for name in names} == {"Q8_0", "Q4_K_M", None}


def test_parts_are_checked(whole: Path, tmp_path: Path) -> None:
    """The parts of a model are the very file that the key made; one that is gone is told."""
    parts = sorted(whole.glob("*Q8_0-*.gguf"))
    assert len(parts) > 2 and all(part.stat().st_size <= MB for part in parts)
    assert verifying.verify(whole).problems == []
    shutil.copytree(whole, tmp_path / "copy")
    (tmp_path / "copy" / parts[1].name).unlink()
    problems = verifying.verify(tmp_path / "copy").problems
    assert any("is missing" in problem for problem in problems)


@pytest.mark.parametrize("size", ["1B", "0", "999999"])
def test_too_small_for_any_part(made: Path, tmp_path: Path, size: str) -> None:
    words = ("--store", str(made / "store"), "--runs", str(made / "runs"), "--split-size", size)
    said = called("export", "latest", "--to", "folder", "--out", "out", *words, cwd=tmp_path)
    assert said.code == 2
    assert "a part has 1MB at least, as with llama-gguf-split" in said.stderr
    assert not list(tmp_path.iterdir())


def test_too_small_for_these_tensors(tmp_path: Path) -> None:
    """A file a tensor is not what anybody wants."""
    file = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    for number in range(6):
        writer.add_tensor(f"blk.{number}.w.weight", np.zeros((1000, 500), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    manifest = Manifest(
        key="0" * 64, id="", name="quantize", stage="quantize", version=1, params={}, engine={},
        inputs={}, files=[FileEntry(file.name, 1, "")], facts={},
    )  # fmt: skip
    row = ModelRow(name="F32", format="F32", status="ran", model="m", key=manifest.key)
    model = ExportedModel(row, Artifact(tmp_path, manifest), {})
    out = tmp_path / "out"
    out.mkdir()
    digests = Digests(tmp_path / "hashes")
    asked = Export([model], Comparison(()), out, out, digests, split_size=MB)
    with pytest.raises(UsageError, match=r"of m-F32 6 of 6 parts would .* tensor has 2,000"):
        place_model(asked, model, ExportName("m", "F32"))
    assert not list(out.iterdir())
