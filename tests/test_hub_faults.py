"""What goes wrong with a hub: each fault through the real client, and what a user is told.

After each the store is whole, has nothing of what failed, and the next run brings the model.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

import pytest

from tests.cli import Answer, by_stage
from tests.hub import TOKEN, Access, Cut, Damaged, Fault, Hub, Seen, Short, Stall, Status, serve
from tests.hub.shell import Shell, shell

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("hub_faults")]

STORIES = Path(__file__).parent / "data" / "models" / "stories260K"
SIZE = (STORIES / "model.safetensors").stat().st_size
MIDDLE = SIZE // 2


Where: TypeAlias = Callable[[str], str]


class Bench(NamedTuple):
    hub: Hub
    shell: Shell

    def run(self, name: str, *, token: str = "") -> Answer:
        """Download a repository of that name, a copy of the same model."""
        repository = f"someone/{name}"
        if repository not in self.hub.known:
            folder = self.hub.folder / "repositories" / name
            shutil.copytree(STORIES, folder)
            with serve({repository: folder}) as other:
                self.hub.known.update(other.known)
        asked = ("local", f"model.source={repository}", "executor=inline")
        return self.shell("run", *asked, "quantize=none", "evaluate=none", "--json", token=token)

    def weights(self, name: str) -> list[Seen]:
        """The requests for the weights' bytes."""
        return [
            s for s in self.hub.seen if s.method == "GET" and f"/cdn/someone%2F{name}/" in s.path
        ]

    def whole(self) -> int:
        """The number of downloads in a store that is whole."""
        verified = self.shell("verify")
        assert verified.code == 0, verified
        listed = json.loads(self.shell("ls", "--json").stdout)
        return sum(one["stage"] == "download" for one in listed["artifacts"])


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("faults")
    with serve() as hub:
        env = {
            "HF_HOME": str(folder / "hf"),
            "HF_ENDPOINT": hub.url,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DOWNLOAD_TIMEOUT": "1",
            "HF_HUB_ETAG_TIMEOUT": "1",
        }
        with shell(folder, env) as commands:
            yield Bench(hub, commands)


@pytest.fixture(autouse=True)
def calm(bench: Bench) -> Iterator[None]:
    yield
    bench.hub.faults.clear()


def cdn(name: str) -> str:
    return f"/cdn/someone%2F{name}/"


def head(name: str) -> str:
    return f"/someone/{name}/resolve/"


def info(name: str) -> str:
    return f"/api/models/someone/{name}"


def small(name: str) -> str:
    return f"/api/resolve-cache/models/someone/{name}/"


def test_a_connection_that_breaks_off_goes_on_at_its_byte(bench: Bench) -> None:
    bench.hub.fail(cdn("cut"), Cut(after=MIDDLE))
    answer = bench.run("cut")
    assert answer.code == 0, answer
    asked = [(one.range, one.status) for one in bench.weights("cut")]
    assert asked == [(None, 200), (f"bytes={MIDDLE}-", 206)]
    artifact = Path(by_stage(json.loads(answer.stdout)["nodes"])["download"]["artifact"])
    assert (artifact / "model.safetensors").read_bytes() == (
        STORIES / "model.safetensors"
    ).read_bytes()


@pytest.mark.parametrize(
    ("name", "faults", "statuses"),
    [
        ("reset", [Cut(after=MIDDLE, reset=True)], [200, 206]),
        ("slow", [Stall(after=MIDDLE, seconds=1.5)], [200, 206]),
        ("expired", [Cut(after=MIDDLE), Status(403)], [200, 403, 206]),
        ("range", [Cut(after=MIDDLE), Status(416)], [200, 416, 200]),
        ("busy", [Status(429, {"Retry-After": "0"})], [429, 200]),
        ("down", [Cut(after=MIDDLE), Status(503, {"Retry-After": "0"})], [200, 503, 206]),
        ("damaged-once", [Damaged()], [200, 200]),
        ("short-once", [Short()], [200, 200]),
    ],
)
def test_what_passes_by_is_waited_for(
    bench: Bench, name: str, faults: list[Fault], statuses: list[int]
) -> None:
    for fault in faults:
        later = isinstance(fault, Status) and len(faults) > 1
        bench.hub.fail(cdn(name), fault, ranged=later)
    before = bench.whole()
    answer = bench.run(name)
    assert answer.code == 0, answer
    assert [one.status for one in bench.weights(name)] == statuses
    assert bench.whole() == before + 1


SOON, NEVER = {"Retry-After": "0"}, {"Retry-After": "3600"}
UNKNOWN = {"X-Error-Message": "Invalid credentials in Authorization header"}
DISABLED = {"X-Error-Message": "Access to this resource is disabled."}

STAYS: tuple[tuple[Where, Fault, str], ...] = (
    (info, Status(401, UNKNOWN), "does not know the token"),
    (info, Status(404, {"X-Error-Code": "RepoNotFound"}), "no such repository at http"),
    (info, Status(404, {"X-Error-Code": "RevisionNotFound"}), "no revision 'main'"),
    (info, Status(429, NEVER), "429: too many requests came from here; try again in 3600 s"),
    (info, Status(503, SOON), "503: it has trouble of its own; try again later"),
    (info, Status(200, {}, "log in first"), "does not answer as a hub does"),
    (head, Status(401, {"X-Error-Code": "GatedRepo"}), "is gated, and no token is set"),
    (head, Status(403, DISABLED), "answered 403 (Access to this resource is disabled.)"),
    (head, Status(404, {"X-Error-Code": "EntryNotFound"}), "the repository has no file"),
    (head, Status(429, NEVER), "try again in 3600 s"),
    (head, Status(500, SOON), "500: it has trouble of its own"),
    (head, Status(200), "does not answer as a hub does"),
    (cdn, Status(403), "model.safetensors: http"),
    (cdn, Status(404), "answered 404"),
    (cdn, Status(416), "answered 416"),
    (cdn, Status(429, NEVER), "try again in 3600 s"),
    (cdn, Status(503, SOON), "trouble of its own; try again later, what came is kept"),
    (cdn, Cut(after=0), "cannot be reached"),
    (cdn, Damaged(), "model.safetensors came damaged, twice: its bytes have the SHA-256"),
    (cdn, Short(), f"it has {SIZE - 8} bytes, and the hub names {SIZE}"),
    (small, Damaged(1), "came damaged, twice: its bytes have the SHA-1 (of git)"),
)


@pytest.mark.parametrize("which", range(len(STAYS)))
def test_what_stays_is_told_and_leaves_the_store_whole(bench: Bench, which: int) -> None:
    where, fault, words = STAYS[which]
    name, before = f"stays-{which}", bench.whole()
    bench.hub.fail(where(name), fault, times=None)
    answer = bench.run(name)
    assert answer.code == 1, answer
    said = " ".join(answer.stderr.split())
    assert words in said, said
    assert f"model:someone/{name}@" in said
    assert bench.hub.signature not in answer.stdout + answer.stderr
    bench.hub.faults.clear()
    assert bench.whole() == before
    again = bench.run(name)
    assert again.code == 0, again
    assert bench.whole() == before + 1


def test_what_came_before_a_failure_is_kept_for_the_next_run(bench: Bench) -> None:
    bench.hub.fail(cdn("kept"), Cut(after=MIDDLE))
    bench.hub.fail(cdn("kept"), Status(404), ranged=True)
    assert bench.run("kept").code == 1
    answer = bench.run("kept")
    assert answer.code == 0, answer
    asked = [(one.range, one.status) for one in bench.weights("kept")]
    assert asked == [(None, 200), (f"bytes={MIDDLE}-", 404), (f"bytes={MIDDLE}-", 206)]
    left = (bench.shell.cwd / "hf").rglob("*.incomplete")
    assert not [*left]


def test_a_repository_that_was_renamed_is_followed(bench: Bench) -> None:
    assert bench.run("today").code == 0
    bench.hub.moved["someone/former"] = "someone/today"
    bench.hub.known["someone/former"] = bench.hub.known["someone/today"]
    answer = bench.run("former")
    assert answer.code == 0, answer


def everything(folder: Path) -> Iterator[tuple[Path, bytes]]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield path, path.read_bytes()


@pytest.mark.parametrize("fault", [None, Status(503, {"Retry-After": "0"}), Damaged()])
def test_no_secret_is_left_anywhere(bench: Bench, fault: Status | Damaged | None) -> None:
    """The token of a gated repository, and the signatures of addresses."""
    name = f"secret-{type(fault).__name__}"
    bench.hub.access[f"someone/{name}"] = Access("gated", [TOKEN])
    refused = bench.run(name)
    assert refused.code == 1
    assert "is gated, and no token is set" in refused.stderr
    if fault is not None:
        bench.hub.fail(cdn(name), fault, times=None)
    answer = bench.run(name, token=TOKEN)
    assert answer.code == (0 if fault is None else 1), answer
    assert TOKEN in {one.token for one in bench.hub.seen if name in one.path}
    assert {one.token for one in bench.weights(name)} == {None}
    said = [answer.stdout, answer.stderr, refused.stderr]
    for secret in (TOKEN, bench.hub.signature):
        assert not [text for text in said if secret in text]
        held = [path for path, data in everything(bench.shell.cwd) if secret.encode() in data]
        assert not held
