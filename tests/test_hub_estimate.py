"""`qpipe estimate OWNER/NAME` fetches config.json and the tokenizer, and no weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub import Hub, serve
from tests.hub.shell import Shell, shell

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("hub_plan")]

BUILTIN = Path(__file__).parents[1] / "qpipe" / "data" / "tinystories-d256"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    root = tmp_path_factory.mktemp("repositories")
    shutil.copytree(BUILTIN, root / "tinystories-d256")
    (root / "notes").mkdir()
    (root / "notes" / "README.md").write_text("nothing")
    with serve({f"someone/{folder.name}": folder for folder in root.iterdir()}) as hub:
        yield hub


@pytest.fixture(scope="module")
def commands(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    folder = tmp_path_factory.mktemp("estimates")
    env = {"HF_HOME": str(folder / "hf"), "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1"}
    with shell(folder, env) as commands:
        yield commands


def test_a_repository_is_estimated_without_its_weights(commands: Shell, hub: Hub) -> None:
    words = ("--type", "Q4_K_M", "--json")
    there = json.loads(commands("estimate", "someone/tinystories-d256", *words).stdout)
    here = json.loads(commands("estimate", "builtin:tinystories-d256", *words).stdout)
    (one,), (other,) = there["rows"], here["rows"]
    # general.name follows the folder's, which is a commit's here.
    assert abs(one["size_bytes"] - other["size_bytes"]) <= 128
    assert one["memory_bytes"] == other["memory_bytes"]
    assert any("config.json and tokenizer of someone/" in note for note in there["notes"])
    assert not any("vocabulary: about" in note for note in one["notes"])


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("someone/notes", "has no config.json"),
        ("someone/none", "no such repository"),
        ("someone/tinystories-d256:Q4_0", "name the repository alone"),
    ],
)
def test_what_cannot_be_estimated_is_told(commands: Shell, source: str, words: str) -> None:
    answer = commands("estimate", source)
    assert answer.code != 0
    assert words in answer.stderr
