"""What goes along with models: importance matrices, towers, licences; each once, none over
another."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpipe.core.digests import Digests
from qpipe.core.key import bytes_sha256
from qpipe.core.manifest import FileEntry, Manifest
from qpipe.core.store import Artifact
from qpipe.export.files import place_all
from qpipe.export.model import ExportedModel
from qpipe.export.target import Export
from qpipe.results.comparison import Comparison, ModelRow


class Artifacts:
    """Artifacts with files of a few bytes, whose keys count up."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0

    def make(self, stage: str, files: dict[str, str], **inputs: Artifact) -> Artifact:
        self._count += 1
        key = bytes_sha256(str(self._count).encode())
        folder = self._folder / key
        folder.mkdir(parents=True)
        for name, text in files.items():
            (folder / name).write_text(text)
        manifest = Manifest(
            key=key, id="", name=stage, stage=stage, version=1, engine={}, facts={},
            params={"outtype": "f16"} if stage == "mmproj" else {},
            inputs={r: {"key": a.key, "digest": "", "name": ""} for r, a in inputs.items()},
            files=[FileEntry(name, len(text), "") for name, text in files.items()],
        )  # fmt: skip
        return Artifact(folder, manifest)


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path / "store")


def placed(models: list[ExportedModel], folder: Path, notes: list[str] | None = None) -> list[str]:
    folder.mkdir()
    told: list[str] = [] if notes is None else notes
    digests = Digests(folder.parent / "hashes")
    request = Export(
        models, Comparison(), folder, folder, digests, name="m", note=lambda note: told.append(note)
    )
    return [file.name for file in place_all(request)]


def model(name: str, artifact: Artifact, *ancestors: Artifact, **more: object) -> ExportedModel:
    row = ModelRow(name=f"{name} Q4_0", format="Q4_0", status="ran", model=name, key=artifact.key)
    return ExportedModel(row, artifact, {a.key: a for a in ancestors}, **more)  # type: ignore[arg-type]


def test_what_belongs_to_a_gguf_file(artifacts: Artifacts, tmp_path: Path) -> None:
    source = artifacts.make("download", {
        "x.safetensors": "x", "LICENSE": "l", "NOTICE.txt": "n", "README.md": "r",
        "USE_POLICY.md": "u", "config.json": "c",
    })  # fmt: skip
    converted = artifacts.make("convert", {"model.gguf": "f16"}, checkpoint=source)
    matrix = artifacts.make("imatrix", {"imatrix.gguf": "i"}, model=converted)
    towers = artifacts.make("mmproj", {"mmproj.gguf": "t"}, checkpoint=source)
    made = artifacts.make("quantize", {"model.gguf": "q"}, model=converted, imatrix=matrix)
    own = model("m", made, converted, matrix, source, towers=[towers])
    assert own.source == source and own.imatrix == matrix
    assert placed([own], tmp_path / "out") == [
        "m-Q4_0.gguf", "m-imatrix.gguf", "mmproj-m-F16.gguf", "LICENSE", "NOTICE.txt",
        "USE_POLICY.md",
    ]  # fmt: skip


def test_a_users_own_matrix_in_the_old_form(artifacts: Artifacts, tmp_path: Path) -> None:
    matrix = artifacts.make("download", {"mine.dat": "i"})
    made = artifacts.make("quantize", {"model.gguf": "q"}, imatrix=matrix)
    assert placed([model("m", made, matrix)], tmp_path / "out") == ["m-Q4_0.gguf", "m-imatrix.dat"]


def test_one_matrix_of_two_levels_and_two_matrices(artifacts: Artifacts, tmp_path: Path) -> None:
    first, second = (artifacts.make("imatrix", {"imatrix.gguf": t}) for t in "ab")
    made = [
        artifacts.make("quantize", {"model.gguf": str(i)}, imatrix=matrix)
        for i, matrix in enumerate((first, first, second))
    ]
    names = placed([model("m", each, first, second) for each in made], tmp_path / "out")
    assert names[3:] == ["m-imatrix.gguf", "m-imatrix-2.gguf"]
    assert (tmp_path / "out" / "m-imatrix-2.gguf").read_text() == "b"


def test_what_is_gone_from_the_store_stays_away(artifacts: Artifacts, tmp_path: Path) -> None:
    source = artifacts.make("download", {"x.safetensors": "x", "LICENSE": "l"})
    made = artifacts.make("quantize", {"model.gguf": "q"}, model=source)
    gone = Artifact(tmp_path / "gone", source.manifest)
    notes: list[str] = []
    assert placed([model("m", made, gone)], tmp_path / "out", notes) == ["m-Q4_0.gguf"]
    assert len(notes) == 1 and "LICENSE" in notes[0] and "are gone" in notes[0]


def test_a_checkpoints_licence_is_in_its_folder(artifacts: Artifacts, tmp_path: Path) -> None:
    source = artifacts.make("download", {"x.safetensors": "x", "LICENSE": "l"})
    made = artifacts.make(
        "quantize", {"q.safetensors": "q", "LICENSE": "l", "config.json": "{}"}, model=source
    )
    assert placed([model("m", made, source)], tmp_path / "out") == [
        "m-Q4_0/q.safetensors", "m-Q4_0/LICENSE", "m-Q4_0/config.json",
    ]  # fmt: skip
    plain = ModelRow(name="download[m]", format=None, status="cached", model="m", key=source.key)
    own = ExportedModel(plain, source, {})
    assert placed([own], tmp_path / "own") == ["m/x.safetensors", "m/LICENSE"]
