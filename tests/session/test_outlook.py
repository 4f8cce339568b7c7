"""What stages say of a plan is remembered while all it hangs on is as it was, and only then."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qpipe.recipe import draft_cache
from qpipe.session import outlook
from tests.cli import called, imported, qpipe
from tests.hub import COMMIT, serve

MODEL = Path(__file__).parents[2] / "qpipe" / "data" / "tinystories-d256"
LISTING = f"GET /api/models/someone/model/revision/{COMMIT}?blobs=true"
WORDS = ("plan", "local", "evaluate=none", "quantize.type=Q4_K_M")


def planned(cwd: Path, *words: str) -> dict[str, Any]:
    answer = called(*WORDS, *words, "--json", cwd=cwd)
    found: dict[str, Any] = json.loads(answer.stdout)
    found.get("totals", {}).pop("free", None)
    return found


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one each time that the stages are asked."""
    calls: list[int] = []
    before: Callable[..., Any] = outlook._remember

    def remember(*arguments: Any) -> None:
        calls.append(1)
        before(*arguments)

    monkeypatch.setattr(outlook, "_remember", remember)
    return calls


def test_the_second_plan_says_the_same_without_asking(tmp_path: Path, asked: list[int]) -> None:
    model = Path(shutil.copytree(MODEL, tmp_path / "model"))
    source = f"model.source={model}"
    first = planned(tmp_path, source)
    assert len(asked) == 1
    assert planned(tmp_path, source) == first
    assert len(asked) == 1
    (node,) = (n for n in first["nodes"] if n["stage"] == "quantize")
    assert node["tensors"]["token_embd.weight"] == "Q6_K"


def test_a_change_of_the_recipe_or_of_a_file_is_noticed(tmp_path: Path, asked: list[int]) -> None:
    model = Path(shutil.copytree(MODEL, tmp_path / "model"))
    source = f"model.source={model}"
    planned(tmp_path, source)
    planned(tmp_path, source, "quantize.pure=true")
    assert len(asked) == 2
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"hidden_act": "gelu"}))
    errors = [node["error"] for node in planned(tmp_path, source)["nodes"] if "error" in node]
    assert "'hidden_act' is 'gelu'" in errors[0]
    assert planned(tmp_path, source)["nodes"][-1]["error"] == errors[-1]
    assert len(asked) == 3
    (model / "config.json").write_text(json.dumps(config))
    assert not [node for node in planned(tmp_path, source)["nodes"] if "error" in node]


def test_what_the_store_has_is_noticed(tmp_path: Path, asked: list[int]) -> None:
    words = ("local", "model.source=builtin:tinystories-d256", *WORDS[2:])
    before = json.loads(called("plan", *words, "--json", cwd=tmp_path).stdout)
    assert before["counts"]["cached"] == 0
    assert called("run", *words, cwd=tmp_path).code == 0
    after = json.loads(called("plan", *words, "--json", cwd=tmp_path).stdout)
    assert after["counts"] == {"cached": 2, "run": 0, "unknown": 0}
    store = tmp_path / "outputs" / "store"
    made = next(node for node in after["nodes"] if node["stage"] == "quantize")
    assert called("rm", made["key"], cwd=tmp_path).code == 0
    again = json.loads(called("plan", *words, "--json", cwd=tmp_path).stdout)
    assert again["counts"] == {"cached": 1, "run": 1, "unknown": 0}
    assert again["nodes"][1]["facts"]["size_bytes"] > 0
    assert len(list((store / "outlooks").iterdir())) == 1


def test_another_installation_is_noticed(
    tmp_path: Path, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "model.source=builtin:tinystories-d256"
    planned(tmp_path, source)
    monkeypatch.setattr(outlook, "usable_memory", lambda: 1 << 20)
    planned(tmp_path, source)
    assert len(asked) == 2
    here = draft_cache.here()
    monkeypatch.setattr(draft_cache, "here", lambda: {**here, "installed": []})
    planned(tmp_path, source)
    assert len(asked) == 3


def test_what_is_missing_here_is_asked_each_time(tmp_path: Path, asked: list[int]) -> None:
    words = ("model.source=builtin:tinystories-d256", "quantize.engine=llama.cpp")
    for _ in range(2):
        nodes = planned(tmp_path, *words)["nodes"]
        assert [n for n in nodes if "llama-quantize is not on PATH" in n.get("error", "")]
    assert not asked


def test_a_note_that_is_damaged_is_none(tmp_path: Path, asked: list[int]) -> None:
    source = "model.source=builtin:tinystories-d256"
    first = planned(tmp_path, source)
    (file,) = (tmp_path / "outputs" / "store" / "outlooks").iterdir()
    for text in ("", "{}", file.read_text()[:-9], '{"question": 1}', "[" * 2000):
        file.write_text(text)
        assert planned(tmp_path, source) == first
    assert len(asked) == 6


def test_a_remembered_plan_imports_no_stage(tmp_path: Path) -> None:
    words = (*WORDS, "model.source=builtin:tinystories-d256")
    assert called(*words, cwd=tmp_path).code == 0
    heavy = ("pydantic", "numpy", "hydra", "qpipe.stages.base", "tempfile", "ctypes")
    answer, names = imported(*words, cwd=tmp_path, names=heavy)
    assert (answer.code, names) == (0, [])


@pytest.mark.slow
def test_a_repository_is_estimated_from_config_json(tmp_path: Path) -> None:
    """Within a tenth, and remembered only where the hub answered."""
    env = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
    recipe = ("local", "model.source=someone/model", "evaluate=none", "quantize.type=Q4_K_M")
    with serve({"someone/model": MODEL}) as hub:
        env["HF_ENDPOINT"] = hub.url
        answer = qpipe("plan", *recipe, "--json", cwd=tmp_path, env=env)
        assert answer.code == 0, answer
        plan = json.loads(answer.stdout)
        assert "/model.safetensors" not in "".join(hub.requests)
        asked = hub.requests.count(LISTING)
        again = json.loads(qpipe("plan", *recipe, "--json", cwd=tmp_path, env=env).stdout)
        assert again["nodes"] == plan["nodes"]
        assert hub.requests.count(LISTING) == asked == 1
        (snapshot,) = (tmp_path / "hf" / "hub" / "models--someone--model" / "snapshots").iterdir()
        (snapshot / "model.safetensors").touch()
        less = json.loads(qpipe("plan", *recipe, "--json", cwd=tmp_path, env=env).stdout)["totals"]
        assert less["download"]["bytes"] < plan["totals"]["download"]["bytes"] / 2
        (snapshot / "model.safetensors").unlink()
        made = json.loads(qpipe("run", *recipe, "--json", cwd=tmp_path, env=env).stdout)
    size = made["rows"][0]["size_bytes"]
    totals = plan["totals"]
    assert totals["results"]["precision"] == "about"
    assert totals["results"]["bytes"] == pytest.approx(size, rel=0.1)
    weights = (MODEL / "model.safetensors").stat().st_size
    assert weights < totals["download"]["bytes"] < 1.2 * weights
    assert totals["disk"]["bytes"] == totals["download"]["bytes"] + totals["results"]["bytes"]
