"""Uploads to a hub on loopback: what is sent, what is not sent twice, and every refusal."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from qpipe.errors import PublishError
from qpipe.export.repository import HubRepository
from tests.hub import TOKEN, Hub, Status, serve

# huggingface_hub 1.33 gives httpx bytes in a way that it calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

NAME = "someone/model-GGUF"
PUT = "/lfs/upload/"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import close_session, constants

    with serve({}) as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        try:
            yield server
        finally:
            close_session()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two large files and two small ones."""
    root = tmp_path / "folder"
    (root / ".eval_results").mkdir(parents=True)
    (root / "a-Q4_0.gguf").write_bytes(b"GGUF" + bytes(300_000))
    (root / "b-Q8_0.gguf").write_bytes(b"GGUF" + bytes(range(256)) * 2000)
    (root / "README.md").write_text("---\nlicense: mit\n---\n# model\n")
    (root / ".eval_results" / "gsm8k.yaml").write_text("- value: 1\n")
    return root


def sums(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def upload(folder: Path, *, private: bool = False) -> object:
    return HubRepository(NAME).upload(folder, sums(folder), private=private, message="a model")


def there(hub: Hub) -> dict[str, bytes]:
    root = hub.repositories[NAME]
    files = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def puts(hub: Hub) -> list[str]:
    return [one.path for one in hub.seen if one.method == "PUT" and one.status == 200]


def test_what_is_there_is_what_was_sent(hub: Hub, folder: Path) -> None:
    repository = HubRepository(NAME)
    assert repository.login() == "someone"
    upload(folder)
    stored = there(hub)
    assert {name: stored[name] for name in sums(folder)} == {
        name: (folder / name).read_bytes() for name in sums(folder)
    }
    assert sum(PUT in path for path in puts(hub)) == 2  # the large ones, ahead of the commit
    remote = repository.files()
    assert remote["a-Q4_0.gguf"].sha256 == sums(folder)["a-Q4_0.gguf"]
    assert remote["README.md"].sha256 is None
    assert not {"README.md", "a-Q4_0.gguf"} - set(stored)


def test_what_is_to_be_private_goes_into_nothing_public(hub: Hub, folder: Path) -> None:
    upload(folder)
    commits = len(hub.known[NAME].commits)
    with pytest.raises(PublishError, match="is there already, and public"):
        upload(folder, private=True)
    assert len(hub.known[NAME].commits) == commits


def test_nothing_is_sent_twice(hub: Hub, folder: Path) -> None:
    upload(folder)
    commits, sent = len(hub.known[NAME].commits), len(puts(hub))
    upload(folder)
    assert (len(hub.known[NAME].commits), len(puts(hub))) == (commits, sent)


def test_an_upload_that_was_cut_goes_on(hub: Hub, folder: Path) -> None:
    """The first large file arrives, and the hub takes no more: only the other is sent later."""
    hub.fail("/commit/", Status(403, text="later"), times=1, method="POST")
    with pytest.raises(PublishError, match="may not write there"):
        upload(folder)
    arrived = len(puts(hub))
    assert arrived == 2
    upload(folder)
    assert len(puts(hub)) == arrived
    assert sums(folder).keys() <= there(hub).keys()


def test_a_connection_that_breaks_while_bytes_go(hub: Hub, folder: Path) -> None:
    hub.fail(PUT, Status(400, text="broken"), times=1, method="PUT")
    with pytest.raises(PublishError):
        upload(folder)
    before = len(puts(hub))
    assert NAME not in hub.repositories or "README.md" not in there(hub)  # no half commit
    upload(folder)
    assert len(puts(hub)) == 2 >= before
    assert sums(folder).keys() <= there(hub).keys()


def test_other_files_stay_and_what_is_replaced_is_said(hub: Hub, folder: Path) -> None:
    upload(folder)
    own = folder.parent / "own"
    own.mkdir()
    (own / "notes.txt").write_text("mine")
    HubRepository(NAME).upload(own, sums(own), private=False, message="notes")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# changed\n")
    (folder / "new.txt").write_text("new")
    plan = HubRepository(NAME).compare(folder, sums(folder))
    assert plan.new == ("new.txt",)
    assert plan.replaced == ("README.md",)
    assert "notes.txt" in plan.others
    assert set(plan.same) == {".eval_results/gsm8k.yaml", "a-Q4_0.gguf", "b-Q8_0.gguf"}
    assert "new.txt" not in there(hub)  # looking changes nothing
    upload(folder)
    stored = there(hub)
    assert stored["notes.txt"] == b"mine"
    assert stored["README.md"] == b"---\nlicense: mit\n---\n# changed\n"


REFUSALS = {
    401: "does not take the token",
    403: "needs the role write",
    404: "no such repository",
    429: "asks to wait",
    503: r"the hub failed \(503\)",
}


@pytest.mark.parametrize("status", sorted(REFUSALS))
def test_a_refusal_says_what_to_do(hub: Hub, folder: Path, status: int) -> None:
    hub.fail("/api/repos/create", Status(status, text="no"), times=None)
    with pytest.raises(PublishError, match=REFUSALS[status]) as error:
        upload(folder)
    assert TOKEN not in str(error.value)
    assert hub.signature not in str(error.value)


def test_no_token(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "/nowhere/token")
    with pytest.raises(PublishError, match="an upload needs a token"):
        HubRepository(NAME).login()
    assert not hub.seen


def test_a_wrong_token_is_in_no_message(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrongwrongwrongwrongwrongwrongwr")
    with pytest.raises(PublishError, match="does not take the token") as error:
        HubRepository(NAME).login()
    assert "wrongwrong" not in str(error.value)


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(PublishError, match=r"127\.0\.0\.1:9 cannot be reached"):
        HubRepository(NAME).login()


@pytest.mark.parametrize(
    ("endpoint", "token", "words"),
    [
        ("http://127.0.0.1:x", TOKEN, "correct HF_ENDPOINT"),
        ("127.0.0.1:9", TOKEN, "correct HF_ENDPOINT"),
        ("http://me:secret@127.0.0.1:9", TOKEN, "…@127.0.0.1:9 cannot be reached"),
        ("http://127.0.0.1:9", "hf_sécret", "correct HF_TOKEN"),
    ],
)
def test_settings_of_the_client_that_cannot_be(
    monkeypatch: pytest.MonkeyPatch, folder: Path, endpoint: str, token: str, words: str
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(PublishError, match=words) as error:
        upload(folder)
    assert "secret" not in str(error.value)


def test_bytes_that_the_hub_changed(hub: Hub, folder: Path) -> None:
    """What the hub says afterwards is compared with what was sent."""
    upload(folder)
    digests = {**sums(folder), "a-Q4_0.gguf": "0" * 64}
    repository = HubRepository(NAME)
    with pytest.raises(PublishError, match=r"other bytes of a-Q4_0\.gguf"):
        repository.upload(folder, digests, private=False, message="again")
