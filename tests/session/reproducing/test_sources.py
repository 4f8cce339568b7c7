"""Models that cannot be had: their rows are named, and the others run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli import called, qpipe
from tests.hub import serve

MODEL = Path(__file__).parents[3] / "qpipe" / "data" / "tinystories-d256"
TABLE = """\
schema: 1
title: Models
source: {document: tests, revision: null}
metrics: {ppl: {protocol: llamacpp-512, text: TinyStories}}
shared:
  recipe: local
  overrides:
    - quantize=none
    - evaluate.text=builtin:texts/tinystories_lower_heldout.txt
    - evaluate.n_ctx=256
    - evaluate.chunks=1
rows:
"""


def table(folder: Path, *models: str) -> Path:
    rows = "".join(f"  - {{format: F16, model: '{m}', values: {{ppl: 9.9}}}}\n" for m in models)
    (folder / "table.yaml").write_text(TABLE + rows)
    return folder / "table.yaml"


def reasons(stdout: str) -> dict[str, tuple[str, str]]:
    return {row["model"]: (row["verdict"], row["why"]) for row in json.loads(stdout)["rows"]}


def test_gated_and_missing_models_are_named_and_the_others_run(tmp_path: Path) -> None:
    table(tmp_path, "gated/one", "nobody/none", "some/one", "builtin:tinystories-d256")
    with serve({"some/one": MODEL}) as hub:
        env = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf")}
        said = qpipe("repro", "table.yaml", "--json", "-q", cwd=tmp_path, env=env)
    found = reasons(said.stdout)
    assert found["gated/one"][0] == found["nobody/none"][0] == "cannot_run"
    assert "this repository is gated" in found["gated/one"][1]
    assert "there is no such repository" in found["nobody/none"][1]
    assert found["some/one"] == found["builtin:tinystories-d256"]
    assert found["some/one"][0] in ("reproduced", "off")


def test_without_a_network_nobody_is_asked_twice(tmp_path: Path) -> None:
    table(tmp_path, "some/one", "other/two", "third/three", "builtin:tinystories-d256")
    env = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hf")}
    said = qpipe("repro", "table.yaml", "--plan", "--json", cwd=tmp_path, env=env)
    assert said.code == 0, said.stderr
    found = reasons(said.stdout)
    assert found["builtin:tinystories-d256"][0] == "would_run"
    for model in ("some/one", "other/two", "third/three"):
        verdict, why = found[model]
        assert verdict == "cannot_run"
        assert why.startswith(f"model:{model}@main: http://127.0.0.1:9 cannot be reached")
    text = qpipe("repro", "table.yaml", "--plan", cwd=tmp_path, env=env).stdout
    assert text.count("cannot be reached") == 1


def test_a_plan_needs_no_network_for_a_pinned_model(tmp_path: Path) -> None:
    path = table(tmp_path, "some/one")
    pinned = path.read_text().replace(
        "model: 'some/one'", f"model: 'some/one', revision: {'a' * 40}"
    )
    path.write_text(pinned)
    env = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hf")}
    said = qpipe("repro", "table.yaml", "--plan", "--json", cwd=tmp_path, env=env)
    assert reasons(said.stdout)["some/one"][0] == "would_run"
    assert "downloads some/one" in reasons(said.stdout)["some/one"][1]


def test_a_recipe_of_another_model_is_not_the_rows(tmp_path: Path) -> None:
    path = table(tmp_path, "Qwen/Qwen2.5-7B")
    path.write_text(path.read_text().replace("recipe: local", "recipe: qwen2.5-7b-instruct"))
    said = called("repro", "table.yaml", "--plan", "--json", cwd=tmp_path)
    verdict, why = reasons(said.stdout)["Qwen/Qwen2.5-7B"]
    assert verdict == "not_comparable"
    assert "the recipe qwen2.5-7b-instruct makes Qwen/Qwen2.5-7B-Instruct" in why


def test_a_model_that_is_too_large_cannot_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = table(tmp_path, "meta-llama/Llama-3.1-8B", "builtin:tinystories-d256")
    pinned = path.read_text().replace("Llama-3.1-8B'", f"Llama-3.1-8B', revision: {'a' * 40}")
    path.write_text(pinned.replace("- quantize=none", "- executor.memory=4000000000"))
    said = called("repro", "table.yaml", "--plan", "--json", cwd=tmp_path)
    found = reasons(said.stdout)
    assert found["builtin:tinystories-d256"][0] == "would_run"
    assert found["meta-llama/Llama-3.1-8B"][0] == "cannot_run"
    assert "GB of memory, and 4.0 GB may be used" in found["meta-llama/Llama-3.1-8B"][1]
    path.write_text(pinned)
    monkeypatch.setattr("qpipe.session.reproducing.room.free_bytes", lambda store: 10**9)
    said = called("repro", "table.yaml", "--plan", "--json", cwd=tmp_path)
    found = reasons(said.stdout)
    assert found["builtin:tinystories-d256"][0] == "would_run"
    assert "it writes about" in found["meta-llama/Llama-3.1-8B"][1]


def test_a_models_path_starts_at_the_table(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "mine").symlink_to(MODEL, target_is_directory=True)
    table(tmp_path / "tables", "mine")
    said = called("repro", "tables/table.yaml", "--plan", "--json", cwd=tmp_path)
    assert reasons(said.stdout)["mine"][0] == "would_run"
