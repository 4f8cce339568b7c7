"""What is taken over from the card of a source, whoever wrote it."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpipe.core.manifest import FileEntry, Manifest
from qpipe.core.store import Artifact
from qpipe.export.licences import Licence
from qpipe.export.source_model import SourceModel, is_repository, read_source


def download(folder: Path, card: str | None = None, **params: object) -> Artifact:
    """A download whose files are those of ``folder``."""
    if card is not None:
        (folder / "README.md").write_text(card)
    files = [FileEntry(path.name, path.stat().st_size, "0" * 64) for path in folder.iterdir()]
    manifest = Manifest(
        key="a" * 64, id="", name="download", stage="download", version=1,
        params=params, engine={}, inputs={}, files=files, facts={},  # type: ignore[arg-type]
    )  # fmt: skip
    return Artifact(folder, manifest)


HUB = {"kind": "model", "repo": "someone/tiny", "commit": "c" * 40}


def test_a_repository_with_a_card(tmp_path: Path) -> None:
    (tmp_path / "LICENSE").write_text("terms")
    card = (
        "---\nlicense: other\nlicense_name: my-own\nlicense_link: LICENSE\nlanguage:\n- no\n- en\n"
        "pipeline_tag: text-generation\nextra_gated_prompt: read this\n---\n"
    )
    assert read_source(download(tmp_path, card, **HUB)) == SourceModel(
        "someone/tiny",
        "c" * 40,
        Licence("other", "my-own", "LICENSE"),
        ("no", "en"),
        "text-generation",
        gated=True,
        texts=(tmp_path / "LICENSE",),
    )


def test_a_folder_without_anything(tmp_path: Path) -> None:
    assert read_source(download(tmp_path, kind="local")) == SourceModel()
    assert read_source(None) == SourceModel()


def test_a_data_set_is_no_base_model(tmp_path: Path) -> None:
    assert read_source(download(tmp_path, **{**HUB, "kind": "dataset"})).repository is None


@pytest.mark.parametrize(
    "matter",
    [
        "license: [mit, apache-2.0]",
        "license: {a: b}",
        "license: 2026-11-28",
        "license: ''",
        "license: 'MIT <b>'",
        "license: a\nlanguage: {x: 1}\npipeline_tag: [1, 2]",
        "- a\n- b",
        "license: &a [*a]",
        "license: !!python/object:os.system x",
        "[" * 1000,
    ],
)
def test_odd_cards_are_read_or_passed_over(tmp_path: Path, matter: str) -> None:
    source = read_source(download(tmp_path, f"---\n{matter}\n---\n", **HUB))
    assert source.repository == "someone/tiny"
    assert source.licence.identifier in (None, "other", "a")
    assert source.licence.terms.sharing == "unknown"


def test_a_link_that_leads_elsewhere_is_left_out(tmp_path: Path) -> None:
    card = "---\nlicense: other\nlicense_name: x\nlicense_link: 'javascript:alert(1)'\n---\n"
    assert read_source(download(tmp_path, card, **HUB)).licence == Licence("other", "x")


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("me/model", True),
        ("me/Model-1.5_GGUF", True),
        ("model", False),
        ("me/mo del", False),
        ("me/../x", False),
        ("me/a--b", False),
        ("-me/model", False),
        ("me/" + "x" * 94, False),
        ("me/modél", False),
    ],
)
def test_names_of_repositories(name: str, *, fits: bool) -> None:
    assert is_repository(name) == fits
