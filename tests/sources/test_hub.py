"""The hub, over real HTTP to a server on localhost, each case in a process of its own: the hub's
library reads its environment once, at import."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli import environment
from tests.hub import COMMIT, TOKEN, Access, Hub, Stall, serve

RESOLVE = "print(hub.resolve_commit(source))"
FETCH = "print(*(one.path.name for one in hub.fetch(source)))"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    folder = tmp_path / "repository"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "pytorch_model.bin", "notes.md"):
        (folder / name).write_text(f"{name} of the repository")
    with serve({"someone/model": folder}) as hub:
        yield hub


def call(
    what: str, tmp_path: Path, *, repo: str = "someone/model", revision: str = "main", **env: str
) -> tuple[int, str]:
    code = (
        "from qpipe.sources import hub\n"
        "from qpipe.sources.pinning import HubSource\n"
        "from qpipe.errors import QpipeError\n"
        f"source = HubSource({repo!r}, 'model', {revision!r}, None)\n"
        "try:\n"
        f"    {what}\n"
        "except QpipeError as error:\n"
        "    print(type(error).__name__, error)\n"
        "    raise SystemExit(1)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(
            {
                "HF_HOME": str(tmp_path / "hf"),
                "HF_HUB_DISABLE_PROGRESS_BARS": "1",
                "HF_HUB_DISABLE_XET": "1",
                **env,
            }
        ),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, done.stdout.strip()


def test_a_branch_becomes_a_commit(hub: Hub, tmp_path: Path) -> None:
    assert call(RESOLVE, tmp_path, HF_ENDPOINT=hub.url) == (0, COMMIT)


def test_only_the_parts_of_a_checkpoint_are_fetched(hub: Hub, tmp_path: Path) -> None:
    assert call(FETCH, tmp_path, revision=COMMIT, HF_ENDPOINT=hub.url) == (
        0,
        "config.json model.safetensors",
    )
    assert not any("pytorch_model.bin" in request for request in hub.requests)


def test_further_chat_templates_come_along(hub: Hub, tmp_path: Path) -> None:
    folder = hub.repositories["someone/model"]
    for name in ("additional_chat_templates/tool.jinja", "other/x.jinja", "onnx/config.json"):
        (folder / name).parent.mkdir()
        (folder / name).write_text("text")
    code, names = call(FETCH, tmp_path, revision=COMMIT, HF_ENDPOINT=hub.url)
    assert (code, names) == (0, "tool.jinja config.json model.safetensors")


def test_progress_counts_bytes(hub: Hub, tmp_path: Path) -> None:
    # One write a line: files are fetched by several threads.
    seen = "hub.fetch(source, lambda *at: print(' '.join(map(str, at)) + chr(10), end=''))"
    code, lines = call(seen, tmp_path, revision=COMMIT, HF_ENDPOINT=hub.url)
    folder = hub.repositories["someone/model"]
    size = sum((folder / name).stat().st_size for name in ("config.json", "model.safetensors"))
    assert code == 0
    assert lines.splitlines()[-1] == f"{size} {size} bytes"


def test_one_file_of_a_repository(hub: Hub, tmp_path: Path) -> None:
    asked = "HubSource(source.repo, 'model', source.revision, 'notes.md')"
    one = f"print(*(one.path for one in hub.fetch({asked})))"
    code, path = call(one, tmp_path, revision=COMMIT, HF_ENDPOINT=hub.url)
    assert code == 0
    assert Path(path).read_text() == "notes.md of the repository"
    code, message = call(
        one.replace("notes", "other"), tmp_path, revision=COMMIT, HF_ENDPOINT=hub.url
    )
    assert code == 1
    assert "no file 'other.md'" in message


def test_a_second_fetch_needs_no_network(hub: Hub, tmp_path: Path) -> None:
    call(FETCH, tmp_path, revision=COMMIT, HF_ENDPOINT=hub.url)
    asked = len(hub.requests)
    code, names = call(FETCH, tmp_path, revision=COMMIT, HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="1")
    assert (code, names) == (0, "config.json model.safetensors")
    assert len(hub.requests) == asked


def test_offline_the_cache_knows_the_last_commit_of_a_branch(hub: Hub, tmp_path: Path) -> None:
    call(FETCH, tmp_path, HF_ENDPOINT=hub.url)
    assert call(RESOLVE, tmp_path, HF_HUB_OFFLINE="1") == (0, COMMIT)
    code, message = call(RESOLVE, tmp_path, revision="other", HF_HUB_OFFLINE="1")
    assert code == 1
    assert "HF_HUB_OFFLINE is set" in message
    assert "qpipe lock" in message


@pytest.mark.parametrize("what", [RESOLVE, FETCH])
@pytest.mark.parametrize(
    ("repo", "revision", "words"),
    [
        ("gated/model", "main", ("is gated", "HF_TOKEN")),
        ("someone/missing", "main", ("no such repository", "check the spelling")),
        ("someone/model", "v9", ("no revision 'v9'", "model.revision")),
    ],
)
def test_refusals_say_what_to_do(
    hub: Hub, tmp_path: Path, what: str, repo: str, revision: str, words: tuple[str, ...]
) -> None:
    code, message = call(what, tmp_path, repo=repo, revision=revision, HF_ENDPOINT=hub.url)
    assert code == 1
    assert message.startswith(f"SourceError model:{repo}@{revision}: ")
    for word in words:
        assert word in message


@pytest.mark.parametrize("what", [RESOLVE, FETCH])
@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"HF_ENDPOINT": "http://127.0.0.1:x"}, "is no address of a hub; correct HF_ENDPOINT"),
        ({"HF_ENDPOINT": "http://me:p/secret@127.0.0.1"}, "is no address of a hub"),
        ({"HF_ENDPOINT": "http://127.0.0.1:9", "HF_TOKEN": "hf_sécret"}, "correct HF_TOKEN"),
    ],
)
def test_settings_of_the_client_that_cannot_be(
    tmp_path: Path, what: str, env: dict[str, str], words: str
) -> None:
    code, message = call(what, tmp_path, **env)
    assert code == 1
    assert words in message
    assert "cret@" not in message and "hf_" not in message


def test_an_empty_repository_was_reached(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with serve({"someone/empty": tmp_path / "empty"}) as hub:
        code, message = call(FETCH, tmp_path, repo="someone/empty", HF_ENDPOINT=hub.url)
    assert code == 1
    assert "is empty: give" in message
    assert "cannot be reached" not in message


@pytest.mark.parametrize("what", [RESOLVE, FETCH])
def test_no_network(tmp_path: Path, what: str) -> None:
    code, message = call(what, tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert code == 1
    assert "http://127.0.0.1:9 cannot be reached" in message
    assert "local folder" in message
    code, message = call(what, tmp_path, HF_ENDPOINT="http://me:secret@127.0.0.1:9")
    assert code == 1
    assert "@127.0.0.1:9 cannot be reached" in message
    assert "secret" not in message


def test_files_come_several_at_a_time(hub: Hub, tmp_path: Path) -> None:
    hub.fail("someone", Stall(after=4, seconds=0.5), times=None)
    assert call(FETCH, tmp_path, revision=COMMIT, HF_ENDPOINT=hub.url)[0] == 0
    assert hub.most == 2


def test_the_token_of_the_clients_own_login_opens_a_gated_repository(
    hub: Hub, tmp_path: Path
) -> None:
    hub.access["someone/model"] = Access("gated", [TOKEN])
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "token").write_text(TOKEN)
    code, said = call(FETCH, tmp_path, revision=COMMIT, HF_ENDPOINT=hub.url)
    assert code == 0, said
    assert {one.token for one in hub.seen if "/cdn/" in one.path} == {None}


def test_all_but_what_needs_none_goes_through_a_proxy(hub: Hub, tmp_path: Path) -> None:
    asked = {"HF_ENDPOINT": "http://hub.invalid", "NO_PROXY": "localhost"}
    code, said = call(FETCH, tmp_path, revision=COMMIT, HTTP_PROXY=hub.url, **asked)
    assert (code, said) == (0, "config.json model.safetensors")
    hosts = {one.host.split(":")[0] for one in hub.seen}
    assert hosts == {"hub.invalid", "localhost"}
    proxy = "http://me:secret@127.0.0.1:9"
    code, said = call(FETCH, tmp_path / "a", revision=COMMIT, HTTP_PROXY=proxy, **asked)
    assert code == 1
    assert "check the proxy (HTTP_PROXY)" in said
    assert "secret" not in said
    asked["HF_ENDPOINT"] = "https://hub.invalid"
    code, said = call(FETCH, tmp_path / "b", revision=COMMIT, HTTPS_PROXY=hub.url, **asked)
    assert code == 1
    assert "the proxy does not let it through (501" in said
