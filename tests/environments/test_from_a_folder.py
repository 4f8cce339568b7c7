"""Environments on a machine without a network: packages from a folder, torch from here."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from qpipe.engines.common.isolated_engine import IsolatedEngine
from qpipe.environments import making, shared_torch
from qpipe.environments.call import Call, call
from qpipe.environments.environment import READY, Environment
from qpipe.environments.installation import install
from qpipe.environments.making import EnvironmentMaker
from qpipe.environments.package_sources import PackageSources
from qpipe.environments.target_python import TargetPython
from qpipe.environments.wheel_folder import WheelFolder
from qpipe.errors import EngineMissingError, UsageError
from qpipe.machine import tools
from qpipe.stages import base
from tests.cli import called
from tests.environments import tiny

HASH = f" \\\n    --hash=sha256:{'0' * 64}\n"
HERE = sys.version_info.minor


def made(
    environment: Environment, folder: Path, **options: bool
) -> tuple[list[str], Mapping[str, object]]:
    """Install from a folder alone; what was said, and what is in the environment."""
    said: list[str] = []
    sources = PackageSources(WheelFolder(folder), **options)
    return said, install(environment, sources=sources, say=said.append)


def key(environment: Environment) -> Mapping[str, object]:
    """What an engine that works in it has in its key."""

    class Tiny(IsolatedEngine):
        tool = "tinytool"
        Params = base.Params

    Tiny.environment = environment
    return Tiny.fingerprint(None)


@pytest.fixture
def closed(own: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As `own`, where pip and uv are told of an index that is not there, and of no folder."""
    for name in tiny.settings(own):
        monkeypatch.delenv(name)
    for name in ("PIP_INDEX_URL", "UV_DEFAULT_INDEX"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/simple")
    return own


@pytest.mark.slow
def test_all_from_the_folder(closed: Path) -> None:
    environment = tiny.environment(closed)
    made(environment, closed)
    assert environment.problem() is None
    assert environment.differing() == {}
    lock = environment.requirements_lock.digest
    assert key(environment) == {"name": "tinytool", "version": "1.0", "lock": lock}
    said, _ = made(environment, closed)
    assert said == ["is there as it was made; `qpipe engines remove tiny` first"]


@pytest.mark.slow
def test_what_is_here_whatever_its_version(closed: Path) -> None:
    environment = tiny.environment(closed, torch="1.0", more=f"packaging==0.1{HASH}")
    with pytest.raises(EngineMissingError, match=r"has no torch 1\.0 for Python 3\.\d+ on .*here"):
        made(environment, closed)
    with pytest.raises(EngineMissingError, match=r"packaging 0\.1: no file"):
        made(environment, closed, torch_here=True)
    assert not environment.home.exists()
    said, _ = made(environment, closed, torch_here=True, rest_here=True)
    versions = {name: shared_torch.version(name) or "" for name in ("packaging", "torch")}
    assert f"sharing packaging {versions['packaging']}, torch {versions['torch']}" in said[2]
    record = json.loads((environment.home / READY).read_bytes())
    assert record["here"] == versions
    assert record["packages"]["torch"] == versions["torch"]
    there = {name: shared_torch.public(version) for name, version in versions.items()}
    assert key(environment)["here"] == there


@pytest.mark.slow
def test_what_a_shared_package_needs_comes_along(closed: Path) -> None:
    """Also where the lock has it, for another Python."""
    more = f"python-dateutil==0.1{HASH}six==0.1 ; python_version < '3'{HASH}"
    environment = tiny.environment(closed, more=more)
    made(environment, closed, rest_here=True)
    command = [str(environment.python), "-I", "-c", "import dateutil.tz, six"]
    subprocess.run(command, check=True)


def test_packages_that_do_not_go_together(closed: Path) -> None:
    environment = tiny.environment(closed, torch="1.0")
    environment.script.write_text("import torch, tinytool\nfrom torch import no_such_thing\n")
    with pytest.raises(EngineMissingError, match=r"cannot import name 'no_such_thing'"):
        made(environment, closed, torch_here=True)
    assert not environment.home.exists()


def test_what_is_not_right_in_the_folder(closed: Path) -> None:
    _, good = tiny.wheel(closed.parent, name="other", tag="cp39-cp39-any")
    more = f"absent==2.0 ; python_version > '3'{HASH}other==1.0 \\\n    --hash=sha256:{good}\n"
    environment = tiny.environment(
        closed, sha256="1" * 64, more=f"{more}old==1 ; python_version < '3'{HASH}"
    )
    (closed.parent / "other-1.0-cp39-cp39-any.whl").rename(closed / "other-1.0-cp39-cp39-any.whl")
    with pytest.raises(EngineMissingError) as caught:
        made(environment, closed)
    where = TargetPython.here(HERE)
    first, *faults = str(caught.value).splitlines()
    assert first == f"{closed} lacks 3 of 3 packages for {where}:"
    assert "tinytool-1.0-py3-none-any.whl has another SHA-256 than the lock says" in faults[0]
    assert faults[1].strip() == f"other 1.0: other-1.0-cp39-cp39-any.whl is not for {where}"
    assert faults[2].strip() == "absent 2.0: no file"
    assert not environment.home.exists()


@pytest.mark.slow
def test_cuda_code_is_compiled_with_it(closed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = replace(tiny.environment(closed, torch="1.0"), compiles="tinytool")
    monkeypatch.setattr(tools, "locate", lambda name: None)
    said, record = made(environment, closed, torch_here=True)
    later = "its CUDA code is compiled in the first job, for some minutes"
    assert said[-1] == f"no nvcc on PATH: {later}"
    assert "compiled_seconds" not in record
    # A GPU, as far as the question goes, and nvcc: the module is imported there.
    maker = EnvironmentMaker(environment, sys.executable, PackageSources(), 0, said.append)
    monkeypatch.setattr(tools, "locate", lambda name: Path("/usr/bin/nvcc"))
    maker.compile()
    assert said[-1] == f"no GPU that torch sees: {later}"
    monkeypatch.setattr(making, "_SEES_A_GPU", "print(True)")
    assert maker.compile()["compiled_seconds"] >= 0
    assert said[-1] == "compiling its CUDA code, for some minutes"
    absent = replace(maker, environment=replace(environment, compiles="tinytool.ext"))
    with pytest.raises(EngineMissingError, match=r"tiny cannot be made(.|\n)*tinytool\.ext"):
        absent.compile()


@pytest.mark.parametrize(
    ("minor", "platform", "file", "takes"),
    [
        (12, "linux-x86_64", "a-1-cp312-cp312-manylinux_2_28_x86_64.whl", True),
        (12, "linux-x86_64", "a-1-cp310-abi3-manylinux2014_x86_64.whl", True),
        (12, "linux-x86_64", "a-1-py3-none-any.whl", True),
        (12, "linux-x86_64", "a-1-cp311-cp311-manylinux_2_28_x86_64.whl", False),
        (12, "linux-x86_64", "a-1-cp312-cp312-manylinux_2_39_x86_64.whl", False),
        (12, "linux-aarch64", "a-1-cp312-cp312-manylinux_2_17_x86_64.whl", False),
        (12, "linux-aarch64", "a-1-cp312-cp312-manylinux_2_17_aarch64.whl", True),
        (12, "linux-x86_64", "a-1.tar.gz", True),
    ],
)
def test_files_that_a_python_takes(minor: int, platform: str, file: str, takes: bool) -> None:
    assert TargetPython.elsewhere(minor, platform).takes(file) is takes


def test_a_copy_without_its_lock_file(made: Environment, tmp_path: Path) -> None:
    for folder in ("in", "out"):
        (tmp_path / folder).mkdir()
    (tmp_path / "in" / "in.txt").write_text("hello")
    made.file_lock_path.unlink()
    assert made.problem() is None
    inputs = {"model": tmp_path / "in"}
    call(made, Call({"how": "work"}, inputs, tmp_path / "out", 1, lambda *_: None))
    assert made.file_lock_path.is_file()


def test_one_made_by_hand_is_asked(made: Environment) -> None:
    ready = made.home / READY
    before = ready.read_bytes()
    try:
        ready.write_text("{}")
        assert made.problem() is None
        assert made.differing() == {}
        (metadata,) = made.home.glob("lib/*/site-packages/tinytool-1.0.dist-info/METADATA")
        assert made.requirements_lock.names == {"tinytool"}
        assert metadata.is_file()
    finally:
        ready.write_bytes(before)


def test_the_name_of_its_folder(tmp_path: Path) -> None:
    from qpipe.engines.autoawq import AutoAwq

    answer = called("engines", "--digest", "autoawq", cwd=tmp_path)
    assert answer.stdout == f"{AutoAwq.environment.home.name}\n"


def test_a_folder_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="/nowhere: there is no such folder"):
        WheelFolder(Path("/nowhere"))


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("install autoawq --from /nowhere", "/nowhere: there is no such folder"),
        ("install autoawq --torch there", "invalid choice: 'there'"),
        ("install autoawq --cuda 13", "qpipe engines install: --cuda is for fetch"),
        ("remove autoawq --from /tmp", "qpipe engines remove: --from is for install"),
        ("fetch autoawq --python 3.12", "--to FOLDER says where wheels are to go"),
        ("fetch autoawq --to w", "give the Python that is there, e.g. 3.12"),
        ("fetch autoawq --to w --python python3.12", "it is no version"),
        ("fetch autoawq --to w --python 3.9", "autoawq needs Python 3.10 to 3.13"),
        ("fetch autoawq --to w --python 3.12 --cuda cu13", "give the CUDA that is there"),
        ("fetch autoawq --to w --python 3.12 --platform win32", "linux-x86_64 or linux-aarch64"),
        ("fetch autoawk --to w --python 3.12", "did you mean 'autoawq'?"),
        ("--digest autoawk", "did you mean 'autoawq'?"),
    ],
)
def test_wrong_usage(tmp_path: Path, words: str, why: str) -> None:
    answer = called("engines", *words.split(), cwd=tmp_path)
    assert answer.code == 2
    assert why in answer.stderr
