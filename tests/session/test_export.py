"""`qpipe export`: which models are meant, and that nothing is written where something is."""

from __future__ import annotations

from pathlib import Path

import pytest

import qpipe
from qpipe.core.layout import DEFAULT_RUNS
from qpipe.errors import UsageError
from qpipe.export import verifying
from qpipe.results.comparison import Comparison
from qpipe.session.export import ExportOptions, export


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Comparison]:
    """A folder with a store and a run of two levels."""
    folder = tmp_path_factory.mktemp("export")
    session = qpipe.load(
        "local",
        "model.source=builtin:stories260K",
        "quantize.type=Q8_0,Q4_0",
        "evaluate=none",
        sweep=True,
        store=folder / "store",
        runs=folder / DEFAULT_RUNS,
    )
    return folder, session.run()


def test_a_run_without_its_reference(made: tuple[Path, Comparison], tmp_path: Path) -> None:
    folder, comparison = made
    out = tmp_path / "out"
    result = export(["latest"], "folder", out, store=folder / "store", runs=folder / DEFAULT_RUNS)
    assert [(file.name, file.row) for file in result.exported.files] == [
        ("stories260K-260K-v1.0-Q8_0.gguf", "Q8_0"),
        ("stories260K-260K-v1.0-Q4_0.gguf", "Q4_0"),
        ("LICENSE.md", None),
        ("provenance.json", None),
        ("SHA256SUMS", None),
    ]
    for row, file in zip(comparison.rows[-2:], result.exported.files, strict=False):
        assert row.file is not None
        assert Path(row.file).samefile(out / file.name)  # linked, not copied


def test_a_key_has_its_row(made: tuple[Path, Comparison], tmp_path: Path) -> None:
    folder, comparison = made
    key = comparison.rows[-1].key
    assert key is not None
    store, runs = folder / "store", folder / DEFAULT_RUNS
    result = export([key[:12], key], "folder", tmp_path / "out", store=store, runs=runs)
    assert [file.row for file in result.exported.files] == ["Q4_0", None, None, None]


@pytest.mark.parametrize("only", ["Q8_0", "Q4_K_M"])
def test_only(made: tuple[Path, Comparison], tmp_path: Path, only: str) -> None:
    folder, _ = made
    store, runs = folder / "store", folder / DEFAULT_RUNS
    options = ExportOptions(only=[only])
    out = tmp_path / "out"
    if only == "Q8_0":
        result = export(
            ["latest"], "folder", tmp_path / "out", store=store, runs=runs, options=options
        )
        assert {file.row for file in result.exported.files} == {"Q8_0", None}
        return
    with pytest.raises(UsageError, match="--only Q4_K_M: no such row"):
        export(["latest"], "folder", out, store=store, runs=runs, options=options)
    assert not list(tmp_path.iterdir())


def test_a_folder_with_something_in_it_stays(made: tuple[Path, Comparison], tmp_path: Path) -> None:
    folder, _ = made
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not empty"):
        export(["latest"], "folder", tmp_path, store=folder / "store", runs=folder / DEFAULT_RUNS)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_rows_of_two_runs_with_one_name(made: tuple[Path, Comparison], tmp_path: Path) -> None:
    """Each model has its own files in provenance and Modelfiles, whatever rows are called."""
    folder, _ = made
    store, runs = folder / "store", folder / DEFAULT_RUNS
    other = qpipe.load(
        "local", "model.source=builtin:stories260K", "quantize.type=Q8_0", "quantize.pure=true",
        "evaluate=none", store=store, runs=tmp_path / "runs",
    ).run()  # fmt: skip
    keys = [row.key for row in other.rows if row.key and not row.reference]
    names = ["latest", *keys]
    options = ExportOptions(only=["Q8_0"])
    out = tmp_path / "out"
    export(names, "ollama", out, store=store, runs=runs, options=options)
    assert verifying.verify(out).problems == []
    modelfiles = sorted(out.glob("Modelfile-*"))
    models = [line for file in modelfiles for line in file.read_text().splitlines()
              if line.startswith("FROM ")]  # fmt: skip
    assert len(modelfiles) == len(models) == len(set(models)) == 2


def test_no_export_into_another_or_into_a_store(
    made: tuple[Path, Comparison], tmp_path: Path
) -> None:
    folder, _ = made
    store, runs = folder / "store", folder / DEFAULT_RUNS
    export(["latest"], "folder", tmp_path / "out", store=store, runs=runs)
    with pytest.raises(UsageError, match="is an export already"):
        export(["latest"], "folder", tmp_path / "out" / "more", store=store, runs=runs)
    with pytest.raises(UsageError, match="is a store"):
        export(["latest"], "folder", store / "more", store=store, runs=runs)
