"""A whole run from a hub repository, over HTTP to a server on localhost."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from tests.cli import by_stage, qpipe
from tests.hub import COMMIT, Damaged, etag, serve
from tests.texts import wikitext

pytestmark = pytest.mark.slow

STORIES = Path(__file__).parent / "data" / "models" / "stories260K"
SHORT = ("evaluate.n_ctx=64", "evaluate.chunks=2")


def test_download_lock_and_go_on_without_a_network(tmp_path: Path) -> None:
    asked = ("local", "model.source=someone/stories", *SHORT)
    env = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
    with serve({"someone/stories": STORIES}) as hub:
        online = {**env, "HF_ENDPOINT": hub.url}
        locked = qpipe("lock", *asked, cwd=tmp_path, env=online)
        assert locked.code == 0, locked
        assert COMMIT in locked.stdout
        run = qpipe("run", *asked, "--json", cwd=tmp_path, env=online)
        assert run.code == 0, run
    nodes = by_stage(json.loads(run.stdout)["nodes"])
    manifest = json.loads(Path(nodes["download"]["artifact"], "manifest.json").read_text())
    assert manifest["params"] == {
        "kind": "model", "repo": "someone/stories", "commit": COMMIT, "file": None,
    }  # fmt: skip
    for made in ("convert", "quantize"):
        document = qpipe("inspect", "--json", nodes[made]["artifact"], cwd=tmp_path)
        metadata = json.loads(document.stdout)["metadata"]
        assert metadata["general.name"] == "Stories"
    assert metadata["qpipe.source"] == f"someone/stories@{COMMIT}"
    # The server is gone, and the hub's cache: what the lock says and the store has is enough, for
    # what is cached and for what is not.
    shutil.rmtree(tmp_path / "hf")
    offline = {**env, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "1"}
    again = qpipe("run", *asked, "quantize.type=Q4_0", "--json", cwd=tmp_path, env=offline)
    assert again.code == 0, again
    nodes = by_stage(json.loads(again.stdout)["nodes"])
    assert nodes["download"]["status"] == nodes["convert"]["status"] == "cached"
    assert nodes["quantize"]["status"] == "ran"


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer_config.json"])
def test_damaged_bytes_of_the_right_length_are_fetched_again_and_then_refused(
    tmp_path: Path, name: str
) -> None:
    asked = ("run", "local", "model.source=someone/stories", "quantize=none", "evaluate=none")
    env = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
    with serve({"someone/stories": STORIES}) as hub:
        hub.fail(name, Damaged(), times=2)
        refused = qpipe(*asked, cwd=tmp_path, env={**env, "HF_ENDPOINT": hub.url})
        assert refused.code == 1
        assert f"{name} came damaged, twice" in refused.stderr
        digest = etag(name, (STORIES / name).read_bytes())
        assert f"the hub names {digest}" in refused.stderr
        hub.fail(name, Damaged(), times=1)
        run = qpipe(*asked, "--json", cwd=tmp_path, env={**env, "HF_ENDPOINT": hub.url})
        assert run.code == 0, run
    download = by_stage(json.loads(run.stdout)["nodes"])["download"]
    assert Path(download["artifact"], name).read_bytes() == (STORIES / name).read_bytes()


def test_a_run_by_branch_goes_on_without_a_network(tmp_path: Path) -> None:
    """The store has everything, even where the hub's cache has nothing."""
    asked = ("run", "local", "model.source=someone/stories", "evaluate=none", "--json")
    env = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
    with serve({"someone/stories": STORIES}) as hub:
        run = qpipe(*asked, cwd=tmp_path, env={**env, "HF_ENDPOINT": hub.url})
        assert run.code == 0, run
    shutil.rmtree(tmp_path / "hf")
    again = qpipe(*asked, cwd=tmp_path, env={**env, "HF_HUB_OFFLINE": "1"})
    assert again.code == 0, again
    assert {node["status"] for node in json.loads(again.stdout)["nodes"]} == {"cached"}
    other = qpipe(*asked, "model.revision=v2", cwd=tmp_path, env={**env, "HF_HUB_OFFLINE": "1"})
    assert other.code == 1
    assert "neither this store nor the hub's cache knows revision 'v2'" in other.stderr


def test_a_repository_is_judged_before_it_is_fetched(tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    shutil.copytree(STORIES, folder)
    (folder / "model.safetensors").rename(folder / "consolidated.safetensors")
    with serve({"someone/stories": folder}) as hub:
        env = {"HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": hub.url}
        asked = ("run", "local", "model.source=someone/stories", "evaluate=none")
        answer = qpipe(*asked, cwd=tmp_path, env=env)
    assert answer.code == 1
    assert "holds consolidated.safetensors alone" in answer.stderr
    assert not [line for line in hub.requests if "/resolve/" in line]


def test_wikitext_of_the_hub_is_the_file_that_everyone_measures_on(tmp_path: Path) -> None:
    """`text=wikitext-2`: fetched by its pinned commit, and the bytes of wiki.test.raw."""
    folder = tmp_path / "wikitext"
    wikitext.write(folder)
    env = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
    repository = "datasets/Salesforce/wikitext"
    with serve({repository: folder}, {repository: wikitext.COMMIT}) as hub:
        run = qpipe(
            *("run", "local", "model.source=builtin:tinystories-d256", "text=wikitext-2"),
            *("evaluate.n_ctx=64", "evaluate.chunks=2", "--json"),
            cwd=tmp_path,
            env={**env, "HF_ENDPOINT": hub.url},
        )
    assert run.code == 0, run
    assert "measured on" not in run.stderr
    tokens = by_stage(json.loads(run.stdout)["nodes"])["tokens"]
    text = Path(tokens["artifact"], "text.txt").read_bytes()
    assert hashlib.sha256(text + b"\n").hexdigest() == wikitext.SHA256
    about = json.loads(Path(tokens["artifact"], "tokens.json").read_text())
    assert about["text"] == "wikitext-2-raw-v1/test"
