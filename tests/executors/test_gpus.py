"""Which GPUs a worker is shown: those that CUDA_VISIBLE_DEVICES leaves, each to one at a time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from qpipe.core import runner
from qpipe.core.graph import Graph, Resources
from qpipe.core.layout import RunPaths
from qpipe.core.store import ArtifactStore
from qpipe.executors import factory
from qpipe.machine import gpus
from tests.contract.running import toy
from tests.core.beside import finish, kill, until
from tests.machine import drivers


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> str:
    return drivers.compiled(tmp_path_factory.mktemp("driver"))


@pytest.mark.parametrize(
    ("variable", "nodes", "given"),
    [
        (None, range(8), {"0", "1", "2"}),
        ("3", range(8), {"3"}),
        ("3,5", range(8), {"3", "5"}),
        ("GPU-0202", range(8), {"GPU-0202"}),
        (f"MIG-{drivers.uuid(1)}", range(8), {f"MIG-{drivers.uuid(1)}"}),
        (None, [3], {"0"}),
    ],
)
def test_three_nodes_have_a_card_each_and_never_the_same_at_once(
    tmp_path: Path,
    driver: str,
    monkeypatch: pytest.MonkeyPatch,
    variable: str | None,
    nodes: range | list[int],
    given: set[str],
) -> None:
    """``given`` are the names that the three workers find in their environment."""
    monkeypatch.delenv(gpus.VARIABLE, raising=False)
    if variable is not None:
        monkeypatch.setenv(gpus.VARIABLE, variable)
    drivers.install(monkeypatch, driver, drivers.with_nodes(tmp_path, nodes))
    intervals = tmp_path / "intervals"
    jobs = [
        toy("Sleep", {"seconds": 0.3, "text": str(n)}, name=str(n),
            resources=Resources(1, 0, gpus), where={"intervals": str(intervals)})
        for n, gpus in enumerate([1, 1, 1, 0])
    ]  # fmt: skip
    executor = factory.make("local", RunPaths(tmp_path / "run"), cpus=4)
    store = ArtifactStore(tmp_path / "store")
    result = runner.run(Graph(jobs), store=store, executor=executor, emit=lambda _: None)
    store.close()
    assert result.counts == {"ran": 4}
    rows = [json.loads(line) for line in intervals.read_text().splitlines()]
    assert [name for text, _, _, name in rows if text == "3"] == [""], (
        "one that needs none has none"
    )
    rows = [row for row in rows if row[0] != "3"]
    assert {name for _, _, _, name in rows} == given
    assert overlaps(rows) == []


def overlaps(rows: list[tuple[str, float, float, str]]) -> list[object]:
    """The pairs of rows that had one card at one time."""
    return [
        (a, b)
        for index, a in enumerate(rows)
        for b in rows[index + 1 :]
        if a[3] == b[3] and a[1] < b[2] and b[1] < a[2]
    ]


@pytest.mark.parametrize("variable", ["", "-1", "NoDevFiles", "8", "GPU-beef", "MIG-beef"])
def test_where_none_is_shown_a_node_that_needs_one_does_not_start(
    tmp_path: Path, driver: str, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(gpus.VARIABLE, variable)
    drivers.install(monkeypatch, driver, drivers.with_nodes(tmp_path, range(8)))
    executor = factory.make("local", RunPaths(tmp_path / "run"), cpus=4)
    why = executor.check(Resources(gpus=1))
    assert f"it needs 1 GPU(s), and this machine offers 0: {gpus.VARIABLE}={variable} " in str(why)
    assert not executor.has_room(Resources(gpus=1))
    assert executor.check(Resources()) is None


# -- several processes ----------------------------------------------------------------------------


def start(
    folder: Path, name: str, names: str, count: int = 2, seconds: float = 0.4
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.executors.sharer", str(folder), name,
         str(folder / "intervals"), names, str(count), str(seconds)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_processes_share_a_card(tmp_path: Path) -> None:
    """Seen: eight commands had six workers on one card at once."""
    commands = [start(tmp_path, name, "0") for name in "abc"]
    told = [finish(command) for command in commands]
    rows = [json.loads(line) for line in (tmp_path / "intervals").read_text().splitlines()]
    assert len(rows) == 6
    assert overlaps(rows) == []
    waited = "".join(told).splitlines()
    assert any(" for a GPU, held by pid " in line for line in waited), waited


def test_a_card_of_a_killed_process_is_free_at_once(tmp_path: Path) -> None:
    first = start(tmp_path, "first", "0", count=1, seconds=60)
    until((tmp_path / "first" / "logs").is_dir)
    second = start(tmp_path, "second", "0", count=1, seconds=0.1)
    assert second.stdout is not None
    assert second.stdout.readline() == (f"second0 for a GPU, held by pid {first.pid} (run first)\n")
    kill(first)
    finish(second, timeout=20)


def test_runs_without_gpus_do_not_wait_for_each_other(tmp_path: Path) -> None:
    commands = [start(tmp_path, name, "", count=1) for name in "ab"]
    assert [finish(command) for command in commands] == ["", ""]
