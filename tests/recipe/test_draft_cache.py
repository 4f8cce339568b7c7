"""Remembered plans: found while everything is as it was, and only then."""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import qpipe
from qpipe.core import file_lock
from qpipe.recipe import draft_cache
from qpipe.recipe.load import drive, remember_batch
from qpipe.recipe.request import InvalidJob, Job, Request
from tests.recipe.composing import write

PAYLOAD = {"jobs": [{"a": 1.5, "b": [None, True, "ü"]}]}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    write(
        folder / "r.yaml",
        """
        defaults: [config, override quantize: own, _self_]
        model: {source: x}
        """,
    )
    write(folder / "quantize" / "own.yaml", "# @package _global_\nrun: {reference: null}")
    return folder


@pytest.fixture
def plans(tmp_path: Path) -> Path:
    return tmp_path / "plans"


def composed(request: Request) -> list[Job | InvalidJob]:
    found: list[Job | InvalidJob] = []

    def handle(jobs: Sequence[Job | InvalidJob]) -> list[float]:
        found.extend(jobs)
        return [0.0 for _ in jobs]

    drive(request, handle)
    return found


def kept(plans: Path, request: Request) -> bool:
    return remember_batch(plans, request, composed(request), PAYLOAD)


def recalled(plans: Path, request: Request) -> Any:
    return draft_cache.recall(plans, request, cwd=Path.cwd())


REQUEST = Request("r.yaml", ("executor.cpus=2",))


def test_what_was_remembered_is_recalled(plans: Path) -> None:
    assert recalled(plans, REQUEST) is None
    assert kept(plans, REQUEST)
    assert recalled(plans, REQUEST) == PAYLOAD
    assert recalled(plans, Request("./r.yaml", REQUEST.overrides)) == PAYLOAD


@pytest.mark.parametrize(
    "change",
    [
        {"overrides": ()},
        {"overrides": ("executor.cpus=3",)},
        {"multirun": True},
        {"recipe": "local"},
        {"flags": ("--cfg", "job")},
    ],
)
def test_another_request(plans: Path, change: dict[str, Any]) -> None:
    assert kept(plans, REQUEST)
    assert recalled(plans, dataclasses.replace(REQUEST, **change)) is None


def test_another_folder(plans: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kept(plans, REQUEST)
    monkeypatch.chdir(here.parent)
    assert recalled(plans, Request(str(here / "r.yaml"), REQUEST.overrides)) is None


def same_size_and_time(path: Path) -> None:
    before = path.stat()
    path.write_text(path.read_text().replace("source: x", "source: y"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


CHANGES: dict[str, Callable[[Path], object]] = {
    "recipe": lambda here: same_size_and_time(here / "r.yaml"),
    "group file": lambda here: write(here / "quantize" / "own.yaml", "a: 1"),
    "group file gone": lambda here: (here / "quantize" / "own.yaml").unlink(),
    # Files that were looked for here before they were found among the shipped ones.
    "shadowed file": lambda here: write(here / "executor" / "local.yaml", "a: 1"),
    "shadowed base": lambda here: write(here / "config.yaml", "a: 1"),
    "override becomes a group": lambda here: (here / "executor.cpus").mkdir(),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changes_are_noticed(plans: Path, here: Path, name: str) -> None:
    assert kept(plans, REQUEST)
    assert recalled(plans, REQUEST) == PAYLOAD
    CHANGES[name](here)
    assert recalled(plans, REQUEST) is None


def test_what_does_not_matter_does_not_matter(plans: Path, here: Path) -> None:
    assert kept(plans, REQUEST)
    write(here / "unrelated.yaml", "a: 1")
    write(here / "quantize" / "another.yaml", "a: 1")
    (here / "outputs").mkdir()
    (here / "r.yaml").touch()
    assert recalled(plans, REQUEST) == PAYLOAD


def test_a_glob_hangs_on_the_folders_listing(plans: Path, here: Path) -> None:
    request = Request("r.yaml", ("quantize=glob(*)",), multirun=True)
    assert kept(plans, request)
    assert recalled(plans, request) == PAYLOAD
    write(here / "quantize" / "another.yaml", "a: 1")
    assert recalled(plans, request) is None


def test_a_search_path_of_the_recipes_own(plans: Path, here: Path, tmp_path: Path) -> None:
    write(tmp_path / "more" / "evaluate" / "extra.yaml", "x: 1")
    write(
        here / "r.yaml",
        f"""
        defaults: [config, override evaluate: extra, _self_]
        model: {{source: x}}
        hydra: {{searchpath: ["{tmp_path / "more"}"]}}
        """,
    )
    assert kept(plans, REQUEST)
    assert recalled(plans, REQUEST) == PAYLOAD
    write(tmp_path / "more" / "evaluate" / "extra.yaml", "x: 2")
    assert recalled(plans, REQUEST) is None


def test_the_environment(plans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = Request("r.yaml", ("model.source='${oc.env:QPIPE_SOURCE}'",))
    monkeypatch.setenv("QPIPE_SOURCE", "a")
    assert kept(plans, request)
    assert recalled(plans, request) == PAYLOAD
    monkeypatch.setenv("QPIPE_SOURCE", "b")
    assert recalled(plans, request) is None
    monkeypatch.delenv("QPIPE_SOURCE")
    assert recalled(plans, request) is None
    # Its value is itself resolved: more than the variable decides.
    monkeypatch.setenv("QPIPE_SOURCE", "${now:%S}")
    assert not kept(
        plans, Request("r.yaml", ("model.source='${oc.decode:${oc.env:QPIPE_SOURCE}}'",))
    )


@pytest.mark.parametrize(
    "text",
    ["${now:%S}", "${hydra:runtime.cwd}", "${hydra.job.num}"],
)
def test_what_cannot_be_watched_is_not_remembered(plans: Path, here: Path, text: str) -> None:
    assert not kept(plans, Request("r.yaml", (f"+vars.a='{text}'",)))
    (here / "r.yaml").write_text((here / "r.yaml").read_text() + f'vars: {{a: "{text}"}}\n')
    assert not kept(plans, REQUEST)
    assert not plans.exists()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "overrides",
    [
        ("hydra.sweeper.max_batch_size=1", "executor.cpus=1,2"),
        ("hydra/sweeper=optuna", "hydra.sweeper.n_trials=1", "executor.cpus=1,2"),
    ],
)
def test_sweeps_in_several_batches_are_not_remembered(
    plans: Path, overrides: tuple[str, ...]
) -> None:
    assert not kept(plans, Request("r.yaml", overrides, multirun=True))


def test_plain_sweeps_are_remembered(plans: Path, here: Path) -> None:
    request = Request("r.yaml", ("quantize=own,none", "executor.cpus=1,2"), multirun=True)
    assert kept(plans, request)
    assert recalled(plans, request) == PAYLOAD
    same_size_and_time(here / "r.yaml")
    assert recalled(plans, request) is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-10]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\xff\x00"),
        lambda path: path.write_text("[]"),
        lambda path: path.write_text("null"),
        lambda path: path.write_text(path.read_text().replace('"format": 3', '"format": 0')),
        lambda path: path.write_text(path.read_text().replace('"files"', '"flies"')),
        lambda path: path.write_text(path.read_text().replace(sys.executable, "/other/python")),
        lambda path: (path.unlink(), path.mkdir()),
    ],
)
def test_a_spoiled_file_is_not_recalled(plans: Path, spoil: Callable[[Path], object]) -> None:
    assert kept(plans, REQUEST)
    (path,) = plans.iterdir()
    spoil(path)
    assert recalled(plans, REQUEST) is None


def test_it_is_remembered_anew(plans: Path, here: Path) -> None:
    assert kept(plans, REQUEST)
    same_size_and_time(here / "r.yaml")
    assert kept(plans, REQUEST)
    assert recalled(plans, REQUEST) == PAYLOAD
    assert len(list(plans.iterdir())) == 1


def test_a_full_or_read_only_disk_is_no_error(plans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for code in (errno.ENOSPC, errno.EROFS, errno.EACCES):

        def refuse(*args: Any, code: int = code, **more: Any) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(file_lock, "write_atomic", refuse)
        assert not kept(plans, REQUEST)
    plans.write_text("a file where the folder should be")
    monkeypatch.undo()


def test_a_change_of_the_code_or_of_what_is_installed(
    plans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "qpipe"
    shutil.copytree(Path(qpipe.__file__).parent, copy, ignore=shutil.ignore_patterns("data"))
    monkeypatch.setattr(qpipe, "__file__", str(copy / "__init__.py"))
    site = tmp_path / "site-packages"
    site.mkdir()
    monkeypatch.setattr(sys, "path", [*sys.path, str(site)])
    assert kept(plans, REQUEST)
    assert recalled(plans, REQUEST) == PAYLOAD
    (copy / "engines" / "gguf.py").touch()
    assert recalled(plans, REQUEST) is None
    assert kept(plans, REQUEST)
    (site / "new.dist-info").mkdir()
    os.utime(site, ns=(1, 1))
    assert recalled(plans, REQUEST) is None


def test_recalling_imports_nothing_heavy(plans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(qpipe.__file__).parents[1]))
    assert kept(plans, REQUEST)
    code = (
        "import sys; from pathlib import Path; from qpipe.recipe import draft_cache, request\n"
        f"request = request.Request({REQUEST.recipe!r}, {REQUEST.overrides!r})\n"
        f"assert draft_cache.recall(Path({str(plans)!r}), request, cwd=Path.cwd()) is not None\n"
        "print({'hydra', 'omegaconf', 'yaml', 'pydantic', 'numpy'} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stderr == ""
    assert answer.stdout == "set()\n"
