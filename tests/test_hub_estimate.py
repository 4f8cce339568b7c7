"""`qpipe estimate OWNER/NAME` fetches config.json and the tokenizer, and no weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import qpipe
from qpipe.session.estimating.estimate import estimate
from tests.hub import Hub, serve
from tests.hub.shell import Shell, shell

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("hub_plan")]

BUILTIN = Path(__file__).parents[1] / "qpipe" / "data" / "tinystories-d256"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    root = tmp_path_factory.mktemp("repositories")
    shutil.copytree(BUILTIN, root / "tinystories-d256")
    (root / "m-GGUF").mkdir()
    qpipe.convert("builtin:tinystories-d256", root / "m-GGUF" / "m-F16.gguf")
    odd = shutil.copytree(BUILTIN, root / "odd")
    fields = json.loads((odd / "config.json").read_text())
    odd_fields = {**fields, "architectures": ["OddForCausalLM"], "model_type": "odd"}
    (odd / "config.json").write_text(json.dumps(odd_fields))
    (root / "notes").mkdir()
    (root / "notes" / "README.md").write_text("nothing")
    with serve({f"someone/{folder.name}": folder for folder in root.iterdir()}) as hub:
        yield hub


@pytest.fixture(scope="module")
def commands(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    folder = tmp_path_factory.mktemp("estimates")
    env = {
        "HF_HOME": str(folder / "hf"),
        "HF_ENDPOINT": hub.url,
        "HF_HUB_DISABLE_XET": "1",
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
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


FIRST = "bytes=0-1048575"


def ranges(hub: Hub) -> list[str]:
    """The ranges in which files were asked for."""
    return [one.range for one in hub.seen if one.method == "GET" and one.range is not None]


@pytest.mark.parametrize(
    "source",
    ["someone/m-GGUF:F16", "hf:someone/m-GGUF/m-F16.gguf", "hf:someone/m-GGUF:m-F16.gguf"],
)
def test_the_header_of_a_gguf_file_is_fetched_by_range(
    commands: Shell, hub: Hub, source: str
) -> None:
    answer = json.loads(commands("estimate", source, "--type", "Q4_K_M", "--json").stdout)
    file = hub.repositories["someone/m-GGUF"] / "m-F16.gguf"
    here = estimate(str(file), ["Q4_K_M"])
    (row,) = answer["rows"]
    assert row["size_bytes"] == here.rows[0].size.file_bytes
    assert row["memory_bytes"]["kv_cache"] == here.rows[0].memory.kv_cache
    assert any("header of m-F16.gguf" in note for note in answer["notes"])
    assert ranges(hub) == [FIRST], "once, and kept"
    assert file.stat().st_size > 4 << 20


def test_headers_tell_of_a_model_of_no_known_class(commands: Shell, hub: Hub) -> None:
    words = ("--type", "BF16", "--runtime", "vllm", "--json")
    answer = json.loads(commands("estimate", "someone/odd", *words).stdout)
    known = json.loads(commands("estimate", "builtin:tinystories-d256", *words).stdout)
    (one,), (other,) = answer["rows"], known["rows"]
    assert one["size_bytes"] == other["size_bytes"]
    assert {*ranges(hub)} == {FIRST}
    whole = (hub.repositories["someone/odd"] / "model.safetensors").stat().st_size
    assert whole > 4 << 20


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("someone/m-GGUF", "name one of its GGUF files by type, as someone/m-GGUF:F16"),
        ("someone/m-GGUF:Q2_K", "Q2_K"),
        ("someone/m-GGUF/other.gguf", "other.gguf"),
        ("someone/notes", "has no config.json"),
        ("someone/none", "no such repository"),
        ("someone/tinystories-d256:Q4_0", "holds no GGUF model"),
        ("hf:someone/notes/README.md", "name the repository alone"),
    ],
)
def test_what_cannot_be_estimated_is_told(commands: Shell, source: str, words: str) -> None:
    answer = commands("estimate", source)
    assert answer.code != 0
    assert words in answer.stderr
