"""Taking environments away: what they took, older ones too, and never under somebody's feet."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qpipe.environments.call import Call, call
from qpipe.environments.environment import Environment, root
from qpipe.environments.installation import install, installed, remove
from qpipe.errors import UsageError
from tests.cli import called
from tests.environments import tiny

MIB = 1 << 20


def older(folder: Path, name: str) -> Path:
    """What an earlier version's lock left behind, of a MiB."""
    home = folder / name / "0123-linux"
    home.mkdir(parents=True)
    (home / "library.so").write_bytes(bytes(range(256)) * (MIB // 256))
    return home


@pytest.mark.slow
def test_all_of_a_name_are_found_and_removed(own: Path) -> None:
    environment = tiny.environment(own)
    install(environment, say=lambda words: None)
    home = older(root(), "tiny")
    found = {one.home: one for one in installed([environment])}
    assert {one.name for one in found.values()} == {"tiny"}
    assert {one.home: one.current for one in found.values()} == {
        environment.home: True,
        home: False,
    }
    assert MIB <= found[home].bytes < MIB + 64 * 1024
    for one in found.values():
        remove(one)
    assert installed([environment]) == []
    assert list((root() / "tiny").iterdir()) == []
    assert environment.problem() == "its environment is not installed: qpipe engines install tiny"


def test_one_that_is_worked_in_stays(made: Environment, tmp_path: Path) -> None:
    for folder in ("in", "out"):
        (tmp_path / folder).mkdir()
    (tmp_path / "in" / "in.txt").write_text("hello")
    (found,) = installed([made])
    refused = []

    def meddle(*_: object) -> None:
        with pytest.raises(UsageError, match="in use by another process") as caught:
            remove(found)
        refused.append(caught.value)

    inputs = {"model": tmp_path / "in"}
    facts = call(made, Call({"how": "work"}, inputs, tmp_path / "out", 1, meddle))
    assert facts["length"] == 5
    assert len(refused) == 3
    assert made.problem() is None


def test_the_command(tmp_path: Path) -> None:
    env = {"QPIPE_ENGINES": str(tmp_path)}
    home = older(tmp_path, "autoawq")
    listed = called("engines", cwd=tmp_path, env=env)
    assert [line.split()[0] for line in listed.stdout.splitlines() if str(home) in line] == [
        "autoawq"
    ]
    answer = called("engines", "remove", "autoawq", "--json", cwd=tmp_path, env=env)
    assert answer.code == 0, answer.stderr
    (record,) = json.loads(answer.stdout)["environments"]
    assert (record["path"], record["current"]) == (str(home), False)
    assert record["bytes"] >= MIB
    assert not home.exists()
    again = called("engines", "remove", "autoawq", cwd=tmp_path, env=env)
    assert (again.code, again.stdout) == (0, "")
    assert "autoawq: nothing is installed" in again.stderr
    wrong = called("engines", "remove", "autoawk", cwd=tmp_path, env=env)
    assert wrong.code == 2
    assert "did you mean 'autoawq'?" in wrong.stderr
