"""Making environments: hashes, races, kills, and torch that is lent."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from qpipe.environments import shared_torch
from qpipe.environments.environment import READY, SHARED, Environment
from qpipe.environments.installation import install
from qpipe.errors import EngineMissingError
from tests.environments import tiny

ROOT = Path(__file__).parents[2]


def make(environment: Environment) -> list[str]:
    """Install; what was said."""
    said: list[str] = []
    install(environment, say=said.append)
    return said


def in_a_process(folder: Path) -> subprocess.Popen[str]:
    """The same in a process of its own."""
    code = f"""
        from pathlib import Path
        from qpipe.environments.environment import Environment
        from qpipe.environments.installation import install
        install(Environment("tiny", Path({str(folder)!r})), say=lambda w: print(w, flush=True))
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )


@pytest.mark.slow
def test_made_once(own: Path) -> None:
    environment = tiny.environment(own)
    assert environment.problem() == "its environment is not installed: qpipe engines install tiny"
    said = make(environment)
    assert "checking hashes" in said[-1]
    assert environment.problem() is None
    ready = environment.ready()
    assert ready is not None
    assert ready["packages"]["tinytool"] == "1.0"
    assert ready["lock"] == environment.requirements_lock.digest
    assert environment.requirements_lock.digest in str(environment.home)
    assert make(environment) == []


def test_a_new_lock_is_a_new_environment(own: Path) -> None:
    home = tiny.environment(own).home
    assert tiny.environment(own).home == home
    assert tiny.environment(own, sha256="0" * 64).home != home


@pytest.mark.slow
def test_a_wrong_hash(own: Path) -> None:
    environment = tiny.environment(own, sha256="0" * 64)
    with pytest.raises(EngineMissingError, match=r"(?s)tiny cannot be made.*[Hh]ash"):
        make(environment)
    assert not environment.home.exists()
    assert environment.problem() is not None


def test_an_entry_without_a_hash(own: Path) -> None:
    environment = tiny.environment(own)
    (own / "tiny.lock").write_text("tinytool==1.0\n")
    with pytest.raises(EngineMissingError, match=r"tinytool 1\.0 has no hash"):
        make(environment)


@pytest.mark.slow
def test_two_at_once(own: Path) -> None:
    tiny.environment(own)
    processes = [in_a_process(own) for _ in range(2)]
    said = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sum("checking hashes" in words for words in said) == 1
    assert tiny.environment(own).problem() is None


@pytest.mark.slow
@pytest.mark.parametrize("after", [0.3, 2.0])
def test_killed_at_any_instant(own: Path, after: float) -> None:
    environment = tiny.environment(own)
    process = in_a_process(own)
    assert process.stdout is not None
    process.stdout.readline()  # it has begun
    time.sleep(after)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    if environment.ready() is None:
        assert environment.problem() is not None
    make(environment)
    assert environment.problem() is None


@pytest.mark.slow
def test_torch_is_lent(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = shared_torch.version()
    assert here is not None
    environment = tiny.environment(own, torch=shared_torch.public(here))
    assert f"sharing torch {here}" in "\n".join(make(environment))
    code = "import json, sys, torch; print(json.dumps([torch.__version__, torch.__file__]))"
    try:
        subprocess.run(
            [environment.python, "-I", "-c", "import pydantic"], check=True, capture_output=True
        )
        raise AssertionError("only torch is lent")
    except subprocess.CalledProcessError:
        pass
    # torch's own requirements are for the lock to have; this one has none.
    site = str(Path(shared_torch.lender()))
    done = subprocess.run(
        [environment.python, "-I", "-c", f"import sys; sys.path.append({site!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    version, file = json.loads(done.stdout)
    assert version == here
    assert file.startswith(str(environment.home / SHARED))
    shutil.rmtree(environment.home / SHARED / "torchgen", ignore_errors=True)
    link = environment.home / SHARED / "torch"
    link.unlink()
    link.symlink_to("/nowhere/torch")
    assert "where it is no more: qpipe engines install tiny" in str(environment.problem())


def test_a_python_that_will_not_do(own: Path) -> None:
    environment = Environment("tiny", tiny.environment(own).folder, pythons=(5, 6))
    with pytest.raises(EngineMissingError, match=r"tiny needs Python 3\.5 to 3\.6, and .* is 3\."):
        make(environment)


def test_an_interpreter_that_is_not_there(own: Path) -> None:
    with pytest.raises(EngineMissingError, match="/no/python cannot be started"):
        install(tiny.environment(own), python="/no/python", say=lambda words: None)


def test_a_leftover_is_no_environment(own: Path) -> None:
    environment = tiny.environment(own)
    environment.python.parent.mkdir(parents=True)
    environment.python.write_text("")
    assert environment.ready() is None
    (environment.home / READY).write_text('{"lock": ')
    assert environment.ready() is None
