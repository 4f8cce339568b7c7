"""A bundle repeats and cites a reproduction, and tells nothing of the machine's folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from tests.cli import called

OWN = Path(__file__).parents[2] / "published" / "tables" / "own.yaml"
RECIPE = """\
defaults: [config, _self_]
model: {source: "builtin:tinystories-d256", name: "${oc.env:QPIPE_TEST_NAME,plain}"}
evaluate: {text: "builtin:texts/tinystories_lower_heldout.txt", n_ctx: 256, chunks: 1}
quantize: {type: F16}
"""
TABLE = """\
schema: 1
title: Of a recipe | of my own
source: {document: "a <b>paper</b>", revision: v2, date: 2024-05, url: "https://example.org/x"}
metrics: {ppl: {protocol: llamacpp-512 n_ctx=256 chunks=1}, size: {unit: MB}}
shared: {model: builtin:tinystories-d256, recipe: mine.yaml}
rows:
  - {format: F16, values: {ppl: 1.0, size: 6.8}}
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundling")
    (folder / "mine.yaml").write_text(RECIPE)
    (folder / "table.yaml").write_text(TABLE)
    env = {"QPIPE_TEST_NAME": "s3cret-name", "HOME": str(folder)}
    said = called("repro", "table.yaml", "--bundle", "out", "-q", cwd=folder, env=env)
    assert said.code == 4, said.stderr
    return folder / "out"


def test_everything_is_in_it(bundle: Path) -> None:
    files = sorted(path.relative_to(bundle).as_posix() for path in bundle.rglob("*.*"))
    assert files == [
        *("CITATION.cff", "README.md", "lock.json", "machine.json", "recipes/001.yaml"),
        *(f"results.{form}" for form in ("csv", "html", "json", "md")),
        *("tables/mine.yaml", "tables/table.yaml", "versions.txt"),
    ]


def test_nothing_tells_of_folders_or_variables(bundle: Path) -> None:
    for path in bundle.rglob("*.*"):
        text = path.read_text()
        assert str(bundle.parent) not in text, path
        assert "s3cret" not in text or path.name.startswith("results"), path
    assert "${oc.env:QPIPE_TEST_NAME}" in (bundle / "recipes" / "001.yaml").read_text()


def test_its_command_repeats_it(bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    command = next(
        line.split()
        for line in (copy / "README.md").read_text().splitlines()
        if "qpipe repro" in line
    )
    store = ["--store", str(bundle.parent / "outputs" / "store")]
    env = {"QPIPE_TEST_NAME": "s3cret-name"}
    said = called(*command[1:], "--json", *store, cwd=copy, env=env)
    before = json.loads((bundle / "results.json").read_text())
    assert [row["ours"] for row in json.loads(said.stdout)["rows"]] == [
        row["ours"] for row in before["rows"]
    ]


def test_the_citation_names_the_source(bundle: Path) -> None:
    cited = yaml.safe_load((bundle / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= cited.keys()
    paper, software = cited["references"]
    assert (paper["title"], paper["year"], paper["month"]) == ("a <b>paper</b>", 2024, 5)
    assert (paper["version"], software["title"]) == ("v2", "qpipe")


def test_words_of_tables_are_escaped(bundle: Path) -> None:
    page = (bundle / "results.html").read_text()
    assert "a &lt;b&gt;paper&lt;/b&gt;" in page
    assert "<b>" not in page
    assert "\\<b\\>" in (bundle / "results.md").read_text()


def test_a_folder_with_something_in_it_is_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    said = called("repro", str(OWN), "--bundle", "full", cwd=tmp_path)
    assert said.code == 2
    assert "--bundle full: it is not empty" in said.stderr
    assert not (tmp_path / "outputs").exists()
    assert called("repro", str(OWN), "--bundle", "new", "--plan", cwd=tmp_path).code == 2


def test_files_of_a_row_are_named_and_the_command_is_quoted(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("once upon a time")
    source = "shared: {model: builtin:tinystories-d256, recipe: local, overrides: [text=text.txt]}"
    table = TABLE.replace("shared: {model: builtin:tinystories-d256, recipe: mine.yaml}", source)
    (tmp_path / "a table.yaml").write_text(table.replace("text=", "evaluate.text="))
    said = called("repro", "a table.yaml", "--only", "sizes", "--bundle", "out", "-q", cwd=tmp_path)
    assert said.code in (0, 4), said.stderr
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "qpipe repro 'tables/a table.yaml' --only sizes" in readme
    assert "by their path: text.txt." in readme
