"""The hub that tests run against, asked by the hub's own client, in a process of its own."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli import environment
from tests.hub import COMMIT, TOKEN, Access, Cut, Hub, Status, serve

WEIGHTS = bytes(range(256)) * 200


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    (folder / "sub").mkdir(parents=True)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# A model\n")
    (folder / "config.json").write_text("{}")
    (folder / "model-Q8_0.gguf").write_bytes(WEIGHTS)
    (folder / "sub" / "notes.txt").write_text("notes")
    return folder


@pytest.fixture
def hub(folder: Path) -> Iterator[Hub]:
    with serve({"someone/model": folder}) as hub:
        yield hub


def client(hub: Hub, tmp_path: Path, *lines: str, token: str | None = TOKEN) -> tuple[int, str]:
    """What the client says, and its exit code; ``api`` is an HfApi, ``hh`` the library."""
    code = ["import huggingface_hub as hh", "api = hh.HfApi()", *lines]
    settings = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_TOKEN": token or "",
    }
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(code)],
        env=environment(settings),
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


def test_an_upload_in_parts_becomes_a_commit_that_can_be_downloaded(
    tmp_path: Path, folder: Path
) -> None:
    with serve() as hub:
        hub.part, hub.page = 20_000, 2
        code, said = client(
            hub,
            tmp_path,
            "print(api.whoami()['name'])",
            "for _ in 'ab': api.create_repo('someone/new', exist_ok=True)",
            f"one = api.upload_folder(repo_id='someone/new', folder_path={str(folder)!r})",
            f"two = api.upload_folder(repo_id='someone/new', folder_path={str(folder)!r})",
            "assert one.oid == two.oid",
            "got = hh.snapshot_download('someone/new', revision=one.oid)",
            "print('got', got)",
            "api.create_branch('someone/new', branch='v1')",
            "pr = api.upload_file(path_or_fileobj=b'[]', path_in_repo='config.json',",
            "    repo_id='someone/new', create_pr=True)",
            "print(pr.pr_url, *(one.name for one in api.list_repo_refs('someone/new').branches))",
            "print(*(f.path for f in api.list_repo_tree('someone/new', recursive=True)))",
        )
        assert code == 0, said
        assert said.startswith("someone\n")
        assert f"{hub.url}/someone/new/discussions/1 main v1" in said
        assert "config.json model-Q8_0.gguf sub/notes.txt" in said
        (snapshot,) = (line[4:] for line in said.splitlines() if line.startswith("got "))
        assert Path(snapshot, "model-Q8_0.gguf").read_bytes() == WEIGHTS
        parts = [one for one in hub.seen if "/lfs/part/" in one.path]
        assert len(parts) == 3  # of 20,000 bytes, and sent once
        assert {one.token for one in parts} == {None}
        assert all(one.token == TOKEN for one in hub.seen if "/commit/" in one.path)


def test_an_upload_that_was_cut_off_sends_the_rest_alone(tmp_path: Path, folder: Path) -> None:
    (folder / "other.gguf").write_bytes(WEIGHTS[:-1])
    other = hashlib.sha256(WEIGHTS[:-1]).hexdigest()
    upload = f"api.upload_folder(repo_id='someone/new', folder_path={str(folder)!r})"
    with serve() as hub:
        hub.fail(f"/lfs/upload/{other}", Status(403), times=1)
        code, said = client(hub, tmp_path, "api.create_repo('someone/new')", upload)
        assert code == 1, said
        assert "403" in said
        code, said = client(hub, tmp_path, upload)
        assert code == 0, said
        sent = [one.path for one in hub.seen if "/lfs/upload/" in one.path and one.status == 200]
        assert len(sent) == len(set(sent)) == 2
        assert set(hub.repositories["someone/new"].glob("*.gguf"))


@pytest.mark.parametrize(
    ("token", "line", "words"),
    [
        (None, "api.create_repo('someone/new', token=False)", "Invalid username or password"),
        ("hf_of_nobody", "api.create_repo('someone/new')", "Invalid credentials"),
        (TOKEN, "api.create_repo('another/new')", "You don't have the rights"),
        (TOKEN, "api.create_repo('someone/model')", "already created"),
        (
            TOKEN,
            "api.upload_file(path_or_fileobj=b'---\\nlicense: [\\n---\\n', "
            "path_in_repo='README.md', repo_id='someone/model')",
            "Invalid metadata in README.md",
        ),
    ],
)
def test_what_may_not_be_written_is_refused(
    hub: Hub, tmp_path: Path, token: str | None, line: str, words: str
) -> None:
    code, said = client(hub, tmp_path, line, token=token)
    assert code == 1
    assert words in said


def test_a_download_follows_the_hubs_redirects_and_keeps_the_token_at_home(
    hub: Hub, tmp_path: Path
) -> None:
    hub.moved["someone/former"] = "someone/model"
    hub.access["someone/model"] = Access("gated", [TOKEN])
    hub.gzip = True
    lines = [
        "from pathlib import Path",
        "for name in ('config.json', 'model-Q8_0.gguf'):",
        "    path = Path(hh.hf_hub_download('someone/former', name))",
        "    print(path.parent.name, path.stat().st_size)",
    ]
    code, said = client(hub, tmp_path, *lines)
    assert code == 0, said
    assert said.splitlines() == [f"{COMMIT} 2", f"{COMMIT} {len(WEIGHTS)}"]
    hosts = {(one.host.split(":")[0], one.token) for one in hub.seen if one.method == "GET"}
    assert ("localhost", None) in hosts
    assert ("localhost", TOKEN) not in hosts
    code, said = client(hub, tmp_path / "again", *lines, token=None)
    assert code == 1
    assert "401" in said
    assert "GatedRepo" in said


def test_a_cut_download_goes_on_in_the_middle(tmp_path: Path) -> None:
    """The client (1.33) takes 10 MiB at a time, and forgets what it has of the next ones."""
    chunk, data = 10 << 20, bytes(range(256)) * (11 << 12)
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "model-Q8_0.gguf").write_bytes(data)
    with serve({"someone/model": tmp_path / "repository"}) as hub:
        hub.fail("model-Q8_0.gguf", Cut(after=chunk + 1000), times=1)
        line = "print('at', hh.hf_hub_download('someone/model', 'model-Q8_0.gguf'))"
        code, said = client(hub, tmp_path, line)
        assert code == 0, said
        bodies = [one for one in hub.seen if one.method == "GET" and "model-Q8" in one.path]
    assert [(one.range, one.status) for one in bodies] == [(None, 200), (f"bytes={chunk}-", 206)]
    (path,) = (line[3:] for line in said.splitlines() if line.startswith("at "))
    assert Path(path).read_bytes() == data
