"""`qpipe export --to hf` and `--to card`: folder, card, picture, and the upload to a hub here."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from qpipe.sources.pinning import DATA
from tests.cli import Answer, called, qpipe
from tests.hub import COMMIT, TOKEN, Hub, serve

REPO = "someone/stories260K-GGUF"


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of two levels, measured on two windows."""
    folder = tmp_path_factory.mktemp("hf")
    sweep = ("-m", "quantize.type=Q8_0,Q4_0", "evaluate=kld", "evaluate.chunks=2")
    result = qpipe("run", "local", "model.source=builtin:stories260K", *sweep, cwd=folder)
    assert result.code == 0, result.stderr
    return folder


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve({}) as server:
        yield server


def export(ran: Path, *words: str, hub: Hub | None = None, token: str = TOKEN) -> Answer:
    env = {"HF_HUB_DISABLE_XET": "1", "HF_TOKEN": token, "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    if hub is not None:
        env["HF_ENDPOINT"] = hub.url
    return qpipe("export", "latest", *words, cwd=ran, env=env)


def there(hub: Hub) -> dict[str, bytes]:
    root = hub.repositories[REPO]
    files = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def test_a_folder_is_published_as_it_is(ran: Path, hub: Hub, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("--to", "hf", "--out", str(out), "--repo", REPO, "--license", "mit", "--json")
    first = export(ran, *words, "--upload", hub=hub)
    assert first.code == 0, first.stderr
    assert "licence: MIT" in first.stderr
    answer = json.loads(first.stdout)["upload"]
    assert answer["url"] == f"{hub.url}/{REPO}"
    names = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert answer["new"] == names
    stored = there(hub)
    assert {name: stored[name] for name in names} == {n: (out / n).read_bytes() for n in names}

    card = ModelCard(stored["README.md"].decode())
    assert (card.data.get("license"), card.data.get("quantized_by")) == ("mit", "someone")
    assert f"llama-cli -hf {REPO}:Q8_0" in card.text or f"llama-cli -hf {REPO}:Q4_0" in card.text

    sent = len([one for one in hub.seen if one.method == "PUT"])
    again = export(ran, *words, "--upload", hub=hub)
    assert again.code == 0, again.stderr
    assert json.loads(again.stdout)["upload"]["same"] == names
    assert len([one for one in hub.seen if one.method == "PUT"]) == sent

    for where in (first.stdout, first.stderr, again.stderr, *map(str, out.rglob("*"))):
        assert TOKEN not in where
    secret = [p for p in (*out.rglob("*"), *(ran / "outputs").rglob("*")) if p.is_file()]
    assert not [path for path in secret if TOKEN.encode() in path.read_bytes()]


def test_another_folder_is_not_taken_for_the_export(ran: Path, hub: Hub, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("--to", "hf", "--out", str(out), "--repo", REPO, "--license", "mit")
    assert called("export", "latest", *words, cwd=ran).code == 0
    (out / "results.csv").write_text("mine\n")
    result = export(ran, *words, "--upload", hub=hub)
    assert result.code == 2
    assert "is not this export (results.csv" in result.stderr
    assert (out / "results.csv").read_text() == "mine\n"
    assert REPO not in hub.known


def test_a_card_may_be_edited(ran: Path, hub: Hub, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("--to", "hf", "--out", str(out), "--repo", REPO, "--license", "mit")
    assert called("export", "latest", *words, cwd=ran).code == 0
    with (out / "README.md").open("a") as card:
        card.write("\nMy own words.\n")
    result = export(ran, *words, "--upload", hub=hub)
    assert result.code == 0, result.stderr
    assert "README.md was changed by hand" in result.stderr
    assert b"quantized_by" not in there(hub)["README.md"]
    assert there(hub)["README.md"].endswith(b"\nMy own words.\n")
    assert called("verify", str(out), cwd=ran).code == 0


def test_looking_changes_nothing(ran: Path, hub: Hub, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("--to", "hf", "--out", str(out), "--repo", REPO, "--license", "mit", "--dry-run")
    result = export(ran, *words, hub=hub)
    assert result.code == 0, result.stderr
    assert "new: LICENSE.md" in result.stderr
    assert REPO not in hub.known


REFUSED = {
    "no licence": ([], "its source says no licence"),
    "forbidden": (["--license", "cc-by-nd-4.0"], "may not be shared"),
    "unknown": (
        ["--license", "other", "--license-name", "my-own"],
        "whether quantized copies may be shared, its text says",
    ),
    "a name": (["--license", "llama3.2"], "begins with Llama"),
    "no identifier": (["--license", "Apache 2.0"], "the hub calls licences"),
}


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_a_licence_may_stand_in_the_way(ran: Path, tmp_path: Path, case: str) -> None:
    """Before anybody is asked, and anything is written."""
    words, message = REFUSED[case]
    out = str(tmp_path / "out")
    to_hub = ("--to", "hf", "--out", out, "--repo", REPO, "--upload", *words)
    result = called("export", "latest", *to_hub, cwd=ran)
    assert result.code == 2
    assert message in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_licence_that_was_accepted(ran: Path, hub: Hub, tmp_path: Path) -> None:
    words = ("--repo", REPO, "--upload", "--license", "llama3.2", "--accept-license")
    result = export(ran, "--to", "hf", "--out", str(tmp_path / "out"), *words, hub=hub)
    assert result.code == 0, result.stderr
    assert b"Llama 3.2 Community License" in there(hub)["NOTICE"]


def test_a_wrong_token_is_found_before_anything_is_written(
    ran: Path, hub: Hub, tmp_path: Path
) -> None:
    words = ("--repo", REPO, "--upload", "--license", "mit")
    result = export(
        ran, "--to", "hf", "--out", str(tmp_path / "out"), *words, hub=hub, token="hf_wrong"
    )
    assert result.code == 1
    assert "does not take the token" in result.stderr
    assert "hf_wrong" not in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_model_of_the_hub_says_what_it_is_of(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(DATA / "stories260K", source)
    (source / "README.md").write_text(
        "---\nlicense: other\nlicense_name: my-own\nlicense_link: LICENSE.md\nlanguage: en\n---\n"
        "prose"
    )
    with serve({"somebody/tiny": source}) as hub:
        env = {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "home")}
        words = ("model.source=somebody/tiny", "quantize.type=Q8_0", "evaluate=none")
        result = qpipe("run", "local", *words, cwd=tmp_path, env=env)
        assert result.code == 0, result.stderr
    out = tmp_path / "out"
    result = called("export", "latest", "--to", "hf", "--out", str(out), cwd=tmp_path)
    assert result.code == 0, result.stderr
    card = ModelCard((out / "README.md").read_text())
    assert card.data.get("base_model") == "somebody/tiny"
    assert card.data.get("base_model_relation") == "quantized"
    assert card.data.get("license_name") == "my-own"
    assert card.data.get("license_link") == "LICENSE.md"
    assert card.data.get("language") == ["en"]
    assert (out / "LICENSE.md").read_bytes() == (source / "LICENSE.md").read_bytes()
    assert "prose" not in card.text
    assert f"at commit `{COMMIT}`" in card.text
    assert "was not measured" in card.text


def test_the_card_alone(ran: Path, tmp_path: Path) -> None:
    result = called("export", "latest", "--to", "card", "--out", str(tmp_path / "out"), cwd=ran)
    assert result.code == 0, result.stderr
    assert (tmp_path / "out" / "card.png").read_bytes().startswith(b"\x89PNG")
    text = (tmp_path / "out" / "card.md").read_text()
    assert "](card.png)" in text
    assert "sha256sum" not in text


def test_options_of_a_repository_are_for_one(ran: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    result = called("export", "latest", "--to", "folder", "--out", out, "--upload", cwd=ran)
    assert result.code == 2
    assert "--upload: is for --to hf" in result.stderr


def test_files_for_ollama_lie_beside_a_model_that_chats(tmp_path: Path) -> None:
    """`ollama run hf.co/…` reads them there; a model without a template has none."""
    source = tmp_path / "source"
    shutil.copytree(DATA / "stories260K", source)
    settings = json.loads((source / "tokenizer_config.json").read_text())
    settings["chat_template"] = (
        "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
    )
    (source / "tokenizer_config.json").write_text(json.dumps(settings))
    words = (f"model.source={source}", "quantize.type=Q8_0", "evaluate=none")
    assert qpipe("run", "local", *words, cwd=tmp_path).code == 0
    out = tmp_path / "out"
    result = called("export", "latest", "--to", "hf", "--out", str(out), cwd=tmp_path)
    assert result.code == 0, result.stderr
    assert ".Content" in (out / "template").read_text()
    card = (out / "README.md").read_text()
    assert "<|user|>\n{prompt}\n<|assistant|>" in card
    assert "conversational" in card
    assert str(tmp_path) not in card
