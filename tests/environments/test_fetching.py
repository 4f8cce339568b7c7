"""Gathering wheels for another machine, with pip and a folder for an index."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpipe.environments.environment import Environment
from qpipe.environments.fetching import Fetched, Fetching
from qpipe.environments.target_python import TargetPython
from qpipe.errors import EngineMissingError, UsageError
from tests.environments import tiny

TARGET = TargetPython.elsewhere(12, "linux-x86_64")
MANYLINUX = "cp312-cp312-manylinux_2_28_x86_64"


def fetch(environment: Environment, to: Path, cuda: str | None = None) -> tuple[Fetched, list[str]]:
    said: list[str] = []
    return Fetching(to, TARGET, cuda, said.append).fetch(environment), said


@pytest.mark.slow
def test_what_is_there_is_not_asked_for_again(own: Path, tmp_path: Path) -> None:
    folder, to = own, tmp_path / "to"
    folder.mkdir()
    file, sha256 = tiny.wheel(folder, name="native", tag=MANYLINUX)
    more = f"native==1.0 \\\n    --hash=sha256:{sha256}\n"
    more += f"old==1 ; python_version < '3.12' \\\n    --hash=sha256:{'0' * 64}\n"
    environment = tiny.environment(folder, more=more)
    got, said = fetch(environment, to)
    names = sorted(path.name for path in to.iterdir())
    assert names == [file.name, "tinytool-1.0-py3-none-any.whl"]
    assert got == Fetched(2, sum(path.stat().st_size for path in to.iterdir()), 2)
    assert said == ["1 of 2: tinytool 1.0", "2 of 2: native 1.0"]
    (to / file.name).write_bytes(b"half of it")  # as a killed one leaves it
    got, said = fetch(environment, to)
    assert (got.files, got.new, said) == (2, 1, ["1 of 1: native 1.0"])
    assert (to / file.name).read_bytes() == file.read_bytes()


@pytest.mark.slow
def test_torch_for_a_cuda(own: Path, tmp_path: Path) -> None:
    folder, to = own, tmp_path / "to"
    folder.mkdir()
    tiny.wheel(folder, name="cuda_toolkit", version="13.0.3")
    tiny.wheel(folder, name="nvidia_nccl_cu13", version="2.0", tag=MANYLINUX)
    needs = ("cuda-toolkit==13.0.3", "nvidia-nccl-cu13==2.0")
    tiny.wheel(folder, name="torch", version="1.0", tag=MANYLINUX, requires=needs)
    environment = tiny.environment(folder, torch="1.0")
    for cuda in ("12.8", "13.1"):
        with pytest.raises(EngineMissingError, match=r"torch 1\.0 at this index is one for CUDA"):
            fetch(environment, to, cuda)
    got, _ = fetch(environment, to, "13")
    assert got.files == 4
    assert {path.name.partition("-")[0] for path in to.iterdir()} == {
        "tinytool", "torch", "cuda_toolkit", "nvidia_nccl_cu13"
    }  # fmt: skip


@pytest.mark.slow
def test_what_no_index_has(own: Path, tmp_path: Path) -> None:
    environment = tiny.environment(own, more=f"absent==2.0 \\\n    --hash=sha256:{'0' * 64}\n")
    with pytest.raises(EngineMissingError, match=r"absent 2\.0: the index .* Python 3\.12 on"):
        fetch(environment, tmp_path / "to")


def test_a_folder_with_other_things(tmp_path: Path) -> None:
    (tmp_path / "thesis.odt").touch()
    with pytest.raises(UsageError, match=r"other things than wheels \(thesis\.odt\)"):
        Fetching(tmp_path, TARGET, None, print)
    with pytest.raises(UsageError, match="it is a file"):
        Fetching(tmp_path / "thesis.odt", TARGET, None, print)
