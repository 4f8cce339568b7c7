"""Names and papers that make no difference to what is made: nothing is made anew for them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cli import by_stage, called

STORIES = Path(__file__).parent / "data" / "models" / "stories260K"
SETTINGS = ("quantize.type=Q8_0", "evaluate.n_ctx=64", "evaluate.chunks=1")


def states(folder: Path, model: str, text: str, *more: str) -> dict[str, str]:
    asked = (f"model.source={model}", f"evaluate.text={text}", *SETTINGS, *more)
    answer = called("plan", "local", *asked, "--json", cwd=folder)
    assert answer.code == 0, answer
    nodes = by_stage(json.loads(answer.stdout)["nodes"])
    return {stage: node["state"] for stage, node in nodes.items()}


def made(found: dict[str, str]) -> Sequence[str]:
    """What would be made anew."""
    return [name for name, state in found.items() if state != "cached"]


@pytest.mark.slow
def test_names_and_papers_make_nothing_anew(tmp_path: Path) -> None:
    shutil.copytree(STORIES, tmp_path / "first")
    (tmp_path / "a.txt").write_text("Once upon a time there was a little dog. " * 20)
    asked = ("local", *SETTINGS, "executor=inline", "--json")
    run = called("run", *asked, "model.source=first", "evaluate.text=a.txt", cwd=tmp_path)
    assert run.code == 0, run

    (tmp_path / "first").rename(tmp_path / "second")
    (tmp_path / "second" / "README.md").write_text("# Notes\n")
    assert made(states(tmp_path, "second", "a.txt")) == []
    (tmp_path / "a.txt").rename(tmp_path / "b.txt")
    again = called("run", *asked, "model.source=second", "evaluate.text=b.txt", cwd=tmp_path)
    document = json.loads(again.stdout)
    texts = {m["text"] for row in document["rows"] for m in row["measurements"]}
    assert texts == {"b.txt"}, "reports say what this run calls it"
    ran = {node["name"] for node in document["nodes"] if node["status"] == "ran"}
    assert ran <= {"text[b.txt]"}

    (tmp_path / "second" / "LICENSE").write_text("Do as you like.")
    found = states(tmp_path, "second", "b.txt")
    assert found.pop("download") == "run"
    assert (
        called("run", *asked, "model.source=second", "evaluate.text=b.txt", cwd=tmp_path).code == 0
    )
    assert made(states(tmp_path, "second", "b.txt")) == []

    assert made(states(tmp_path, "second", "b.txt", "name=Third")) == [], "it is in no key"
    assert "convert" in made(states(tmp_path, "second", "b.txt", "model.name=Third"))
    (tmp_path / "second" / "README.md").write_text("---\nlicense: mit\n---\n# Notes\n")
    assert "download" in made(states(tmp_path, "second", "b.txt")), "general.license is written"
