"""What a hub's listing says of a repository, `qpipe plan` and `qpipe run` say before anything runs;
where nobody answers they go on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli import Answer
from tests.hub import COMMIT, Hub, Status, serve
from tests.hub.shell import Shell, shell

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("hub_plan")]

STORIES = Path(__file__).parent / "data" / "models" / "stories260K"
ASKED = ("quantize.type=Q8_0", "evaluate=none")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    root = tmp_path_factory.mktemp("repositories")
    for name, files in {
        "notes": ["README.md", "a.txt"],
        "two": ["m-Q4_0.gguf", "m-Q8_0.gguf"],
        "sets": ["config.json", "model.safetensors", "model.fp16.safetensors"],
    }.items():
        (root / name).mkdir()
        for file in files:
            (root / name / file).write_text("{}")
    shutil.copytree(STORIES, root / "whole")
    with serve({f"someone/{folder.name}": folder for folder in root.iterdir()}) as hub:
        yield hub


@pytest.fixture(scope="module")
def commands(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    folder = tmp_path_factory.mktemp("plans")
    env = {"HF_HOME": str(folder / "hf"), "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1"}
    with shell(folder, env) as commands:
        yield commands


def ask(commands: Shell, verb: str, source: str, revision: str = COMMIT) -> Answer:
    return commands(verb, "local", f"model.source={source}", f"model.revision={revision}", *ASKED)


@pytest.mark.parametrize("verb", ["plan", "run"])
@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("someone/notes", "holds no model, but README.md, a.txt: give"),
        ("someone/two", "holds 2 GGUF models (Q4_0, Q8_0); name a type"),
        ("someone/sets", "holds two sets of weights, model.safetensors and another set"),
        ("someone/two/m-Q6_K.gguf", "has no file 'm-Q6_K.gguf' at this revision"),
        ("someone/two/m-00001-of-00002.gguf", "has no file 'm-00001-of-00002.gguf'"),
        ("someone/none", "no such repository"),
    ],
)
def test_what_is_no_model_is_refused(
    hub: Hub, commands: Shell, verb: str, source: str, words: str
) -> None:
    answer = ask(commands, verb, source)
    said = " ".join((answer.stdout + answer.stderr).split())
    assert words in said, answer
    assert answer.code == 1 or (verb == "plan" and "would fail" in said), answer
    assert not any("/cdn/" in one.path for one in hub.seen)


def test_where_nobody_answers_a_commit_is_planned(hub: Hub, commands: Shell) -> None:
    for where in ("/api/models/someone/whole", "/someone/whole/resolve"):
        hub.fail(where, Status(503, {"Retry-After": "0"}), times=None)
    answer = ask(commands, "plan", "someone/whole")
    hub.faults.clear()
    assert answer.code == 0, answer
    assert "would fail" not in answer.stdout
    assert "run      download: whole" in answer.stdout
    answer = ask(commands, "plan", "someone/whole")
    assert "1.02 MiB  download: whole" in answer.stdout, answer
