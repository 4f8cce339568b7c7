"""CONTRIBUTING.md's engine, in a distribution of its own, does what is said of it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli import Answer, environment, qpipe

pytestmark = pytest.mark.xdist_group("contributing")

ROOT = Path(__file__).parents[1]
RECIPE = """
defaults: [config, override quantize: mine, override evaluate: none, _self_]
model: {source: "builtin:tinystories-d256"}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe beside what the three blocks say, and what installing them leaves in ``site``."""
    folder = tmp_path_factory.mktemp("mine")
    text = (ROOT / "CONTRIBUTING.md").read_text()
    found: list[tuple[str, str]] = re.findall(r"^```(\w+)\n(.*?)^```", text, re.M | re.S)
    assert [language for language, _ in found] == ["python", "toml", "yaml"]
    (_, module), (_, project), (_, group) = found
    (entry,) = re.findall(r'^\[project.entry-points."qpipe.engines"\]\n(.*)$', project, re.M)
    about = folder / "site" / "qpipe_mine-0.1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: qpipe-mine\nVersion: 0.1\n")
    (about / "entry_points.txt").write_text("[qpipe.engines]\n" + entry.replace('"', "") + "\n")
    (folder / "site" / "qpipe_mine.py").write_text(module)
    (folder / "quantize").mkdir()
    (folder / "quantize" / "mine.yaml").write_text(group)
    (folder / "try.yaml").write_text(RECIPE)
    return folder


def ask(folder: Path, *arguments: str) -> Answer:
    path = f"{folder / 'site'}:{environment()['PYTHONPATH']}"
    return qpipe(*arguments, cwd=folder, env={"PYTHONPATH": path})


def test_its_engine_makes_a_model(folder: Path) -> None:
    answer = ask(folder, "run", "try.yaml", "quantize.level=2", "--json")
    assert answer.code == 0, answer.stderr
    document = json.loads(answer.stdout)
    (made,) = (node for node in document["nodes"] if node["stage"] == "quantize")
    manifest = json.loads((Path(made["artifact"]) / "manifest.json").read_text())
    assert manifest["params"] == {"method": "mine", "engine": "mine", "level": 2}
    assert document["rows"][-1]["format"] == "F16"


def test_its_engine_is_listed_and_its_settings_checked(folder: Path) -> None:
    assert re.search(r"method=mine +engine=mine", ask(folder, "engines").stdout)
    answer = ask(folder, "plan", "try.yaml", "quantize.level=x")
    assert answer.code == 2
    assert "quantize.level (the override 'quantize.level=x')" in answer.stderr
