"""Whole runs on one GGUF model of a hub repository: by type, by file, in parts, and offline."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from qpipe.gguf import quantize
from tests.cli import by_stage, qpipe
from tests.gguf.test_gguf_split import divide
from tests.hub import COMMIT, serve

pytestmark = pytest.mark.slow

STORIES = Path(__file__).parent / "data" / "models" / "stories260K"
GgufOf = Callable[[str, str], Path]
ASKED = ("quantize=none", "evaluate=none", "executor=inline", "--json")


@pytest.fixture
def ladder(tmp_path: Path, gguf_of: GgufOf) -> Path:
    """A repository with ready GGUF files, one of them in parts in a folder, and what lies beside
    such files."""
    folder = tmp_path / "repository"
    folder.mkdir()
    whole = gguf_of("stories260K", "F16")
    divide(whole, folder / "F16", (7, len(quantize.read(whole).outputs) - 7))
    shutil.copy(gguf_of("stories260K", "Q8_0"), folder / "m-q8_0.gguf")
    for name in ("mmproj-F16.gguf", "m-Q8_0.imatrix.gguf", "README.md", "picture.png"):
        (folder / name).write_bytes(b"beside")
    return folder


def test_a_type_of_a_repository(tmp_path: Path, ladder: Path, gguf_of: GgufOf) -> None:
    """By type, in parts and in a folder; pinned by lock, then without a network."""
    env = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
    source = ("local", "model.source=someone/m-GGUF:f16")
    with serve({"someone/m-GGUF": ladder}) as hub:
        online = {**env, "HF_ENDPOINT": hub.url}
        locked = qpipe("lock", *source, cwd=tmp_path, env=online)
        assert locked.code == 0, locked
        assert f"model:someone/m-GGUF@main = {COMMIT}" in locked.stderr + locked.stdout
        plan = qpipe("plan", *source, *ASKED, cwd=tmp_path, env=online)
        assert plan.code == 0, plan
        run = qpipe("run", *source, *ASKED, cwd=tmp_path, env=online)
        assert run.code == 0, run
        got = [str(line) for line in hub.requests if "GET" in str(line) and "resolve" in str(line)]
        assert all("F16/m-0000" in line for line in got), got
    download = by_stage(json.loads(run.stdout)["nodes"])["download"]
    manifest = json.loads(Path(download["artifact"], "manifest.json").read_text())
    assert manifest["params"]["file"] == "F16/m-00001-of-00002.gguf"
    assert len(manifest["files"]) == 2
    (row,) = json.loads(run.stdout)["rows"]
    assert row["format"] == "F16"
    assert Path(row["file"]).read_bytes() == gguf_of("stories260K", "F16").read_bytes()
    offline = {**env, "HF_ENDPOINT": "http://127.0.0.1:9"}
    again = qpipe("run", *source, *ASKED, cwd=tmp_path, env=offline)
    assert again.code == 0, again
    assert {node["status"] for node in json.loads(again.stdout)["nodes"]} == {"cached"}


@pytest.mark.parametrize("source", ["hf.co/someone/m-GGUF:Q8_0", "someone/m-GGUF/m-q8_0.gguf"])
def test_one_file_of_a_repository(tmp_path: Path, ladder: Path, source: str) -> None:
    env = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
    with serve({"someone/m-GGUF": ladder}) as hub:
        run = qpipe(
            *("run", "local", f"model.source={source}", *ASKED),
            cwd=tmp_path,
            env={**env, "HF_ENDPOINT": hub.url},
        )
    assert run.code == 0, run
    assert [row["format"] for row in json.loads(run.stdout)["rows"]] == ["Q8_0"]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("someone/m-GGUF", "holds 2 GGUF models (F16, Q8_0); name a type"),
        ("someone/m-GGUF:Q4_K_M", "holds no model of type Q4_K_M, but F16, Q8_0"),
        ("someone/stories:Q8_0", "holds no GGUF model"),
        ("someone/m-GGUF/other.gguf", "the repository has no file"),
    ],
)
def test_what_no_repository_has(tmp_path: Path, ladder: Path, source: str, words: str) -> None:
    env = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
    with serve({"someone/m-GGUF": ladder, "someone/stories": STORIES}) as hub:
        answer = qpipe(
            *("run", "local", f"model.source={source}", *ASKED),
            cwd=tmp_path,
            env={**env, "HF_ENDPOINT": hub.url},
        )
        fetched = [line for line in hub.requests if "GET" in str(line) and ".gguf" in str(line)]
    assert answer.code == 1
    assert words in " ".join(answer.stderr.split()), answer
    assert not [line for line in fetched if "other" not in str(line)]


def test_only_what_is_read_is_fetched(tmp_path: Path) -> None:
    """A repository with every layout of the same weights, and all that lies beside."""
    folder = tmp_path / "repository"
    shutil.copytree(STORIES, folder)
    weights = (folder / "model.safetensors").read_bytes()
    read = {path.name for path in folder.iterdir()} - {"PROVENANCE.md"}
    for name in (
        *("consolidated.safetensors", "params.json.bak", "adapter_model.safetensors"),
        *("adapter_config.json", "original/consolidated.00.pth", "original/params.json"),
        *("pytorch_model.bin", "pytorch_model.bin.index.json", "tf_model.h5", "flax_model.msgpack"),
        *("onnx/model.onnx", "onnx/config.json", "openvino/openvino_model.xml", "m-Q4_K_M.gguf"),
        *("training_args.bin", "trainer_state.json", "images/plot.png", "logo.jpg"),
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(weights[:1000])
    with serve({"someone/stories": folder}) as hub:
        env = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1", "HF_ENDPOINT": hub.url}
        run = qpipe("run", "local", "model.source=someone/stories", *ASKED, cwd=tmp_path, env=env)
        asked = [str(line) for line in hub.requests]
    assert run.code == 0, run
    fetched = [line for line in asked if "resolve" in line]
    assert {name for name in read for line in fetched if name in line} == read, fetched
    assert "PROVENANCE.md" not in "".join(fetched)
    for unread in ("consolidated", "adapter", ".bin", "onnx", "openvino", "h5", "msgpack", "gguf",
                   "trainer_state", "png", "jpg", "original"):  # fmt: skip
        assert not [line for line in asked if unread in line], unread
