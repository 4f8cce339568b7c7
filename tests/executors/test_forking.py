"""Workers from a process that has imported what they import: when there is one, and when not.

What such a worker does is tested as that of any other: test_local.py, test_local_ends.py.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from qpipe.core.executor import WorkOutput
from qpipe.core.graph import Node
from qpipe.core.layout import RunPaths
from qpipe.core.store import ArtifactStore
from qpipe.errors import WorkerCrashError
from qpipe.executors.forking import ForkedProcess, ForkServer, can_fork
from qpipe.executors.local import Capacity, LocalExecutor
from tests.contract.running import Bench, toy
from tests.core.beside import until

pytestmark = pytest.mark.skipif(not can_fork(), reason="no forks here")

SLEEPS = {"seconds": 60.0}


def importing(text: str, *modules: str, python: str | None = None) -> Node:
    one = toy("Write", {"text": text}, name=text, python=python)
    return replace(one, runtime=replace(one.runtime, imports=modules))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    executor = LocalExecutor(RunPaths(tmp_path / "run"), Capacity(2, None))
    bench = Bench(executor, ArtifactStore(tmp_path / "store"))
    yield bench
    bench.close()


def executor_of(bench: Bench) -> LocalExecutor:
    assert isinstance(bench.executor, LocalExecutor)
    return bench.executor


def server_of(bench: Bench) -> ForkServer | None:
    return executor_of(bench)._forks._server


def log_of(bench: Bench) -> str:
    assert bench.log is not None
    return Path(bench.log).read_text()


def test_two_nodes_share_an_import_and_the_last_ends_it(bench: Bench) -> None:
    nodes = [importing(text, "decimal") for text in ("a", "b")]
    bench.executor.foresee(nodes)
    server = server_of(bench)
    assert server is not None
    for node in nodes:
        bench.submit(node)
        assert isinstance(executor_of(bench).workers[0].process, ForkedProcess)
        assert isinstance(bench.wait(), WorkOutput)
        assert log_of(bench) == f"wrote {node.name!r}\n"
    assert server_of(bench) is None
    assert server.process.returncode == 0


def test_one_node_alone_is_started_as_ever(bench: Bench) -> None:
    bench.executor.foresee([importing("a", "decimal"), importing("b", "fractions")])
    assert server_of(bench) is None
    bench.executor.foresee([importing(text, "x", python="/other/python") for text in "ab"])
    assert server_of(bench) is None


def test_another_environment_is_no_place_to_fork(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [importing(text, "decimal") for text in ("a", "b")]
    bench.executor.foresee(nodes)
    monkeypatch.setenv("SET_LATER", "1")
    bench.submit(nodes[0])
    assert not isinstance(executor_of(bench).workers[0].process, ForkedProcess)
    assert isinstance(bench.wait(), WorkOutput)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("tests.executors.threaded", "1 threads run after modules were imported (python"),
        ("no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
    ],
)
def test_what_must_not_be_forked_is_not_and_the_log_says_so(
    bench: Bench, module: str, words: str
) -> None:
    nodes = [importing(text, module) for text in ("a", "b")]
    bench.executor.foresee(nodes)
    for node in nodes:
        assert isinstance(bench.outcome(node), WorkOutput)
    assert (
        words in Path(str(bench.log)).with_name(f"a-{bench.done[0].item.key[:8]}.log").read_text()
    )


def test_a_server_that_is_killed_as_it_imports(bench: Bench) -> None:
    nodes = [importing(text, "tests.executors.slow") for text in ("a", "b")]
    bench.executor.foresee(nodes)
    bench.submit(nodes[0])
    server = server_of(bench)
    assert server is not None
    server.process.kill()
    assert isinstance(bench.wait(), WorkOutput)
    assert "not forked: the process that was to fork it has ended" in log_of(bench)


def test_a_server_that_is_killed_takes_its_workers_along(bench: Bench, tmp_path: Path) -> None:
    slow = toy("Sleep", SLEEPS, where={"pid": str(tmp_path / "pid")})
    slow = replace(slow, runtime=replace(slow.runtime, imports=("decimal",)))
    bench.executor.foresee([slow, importing("b", "decimal")])
    bench.submit(slow)
    bench.until((tmp_path / "pid").exists)
    pid = int((tmp_path / "pid").read_text())
    server = server_of(bench)
    assert server is not None
    server.process.kill()
    outcome = bench.wait()
    assert type(outcome) is WorkerCrashError
    assert "the worker was killed by SIGKILL" in str(outcome)
    until(lambda: not alive(pid))
    assert isinstance(bench.outcome(importing("b", "decimal")), WorkOutput)


def test_a_timeout_while_it_imports(bench: Bench) -> None:
    slow = replace(toy("Write", {"text": "a"}, timeout=0.3))
    slow = replace(slow, runtime=replace(slow.runtime, imports=("tests.executors.slow",)))
    bench.executor.foresee([slow, importing("b", "tests.executors.slow")])
    assert "stopped after 0.3 s" in str(bench.outcome(slow))
    bench.executor.rest()
    assert server_of(bench) is None


RUN = """
import sys
from dataclasses import replace
from pathlib import Path
from qpipe.core.layout import RunPaths
from qpipe.core.store import ArtifactStore
from qpipe.executors.local import Capacity, LocalExecutor
from tests.contract.running import Bench, toy
folder = Path(sys.argv[1])
nodes = [toy("Sleep", {{"seconds": 60.0, "text": text}}, where={{"pid": str(folder / text)}})
         for text in "ab"]
nodes = [replace(n, runtime=replace(n.runtime, imports=("{module}",))) for n in nodes]
executor = LocalExecutor(RunPaths(folder / "run"), Capacity(2, None))
bench = Bench(executor, ArtifactStore(folder / "store"))
executor.foresee(nodes)
(folder / "server").write_text(str(executor._forks._server.process.pid))
bench.submit(nodes[0])
bench.wait()
"""


@pytest.mark.parametrize(
    ("module", "until_file"), [("decimal", "a"), ("tests.executors.slow", "server")]
)
def test_nothing_is_left_of_a_run_that_is_killed(
    tmp_path: Path, module: str, until_file: str
) -> None:
    command = [sys.executable, "-c", RUN.format(module=module), str(tmp_path)]
    process = subprocess.Popen(command)
    until(lambda: (tmp_path / until_file).exists() and (tmp_path / until_file).read_text())
    process.send_signal(signal.SIGKILL)
    process.wait()
    pids = [int((tmp_path / name).read_text()) for name in {"server", until_file}]
    until(lambda: not any(map(alive, pids)))


def alive(pid: int) -> bool:
    try:
        return "zombie" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_threads_of_what_was_imported_are_those_of_the_worker(tmp_path: Path) -> None:
    code = (
        "import ctypes, numpy\n"
        "from qpipe.executors import thread_counts\n"
        "(path, setter), = [i for i in thread_counts.libraries().items() if 'openblas' in i[0]]\n"
        "assert setter is not None\n"
        "lib = ctypes.CDLL(path)\n"
        "names = [setter.__name__.replace('_set_', '_get_')]\n"
        "count = getattr(lib, names[0])\n"
        "print(count()); thread_counts.set_threads(2); print(count())\n"
    )
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout.split() == ["1", "2"], done.stderr
