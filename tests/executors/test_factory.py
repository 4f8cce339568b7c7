"""Executors by name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qpipe.core.layout import RunPaths
from qpipe.errors import RecipeError
from qpipe.executors import factory
from qpipe.executors.inline import InlineExecutor
from qpipe.executors.local import LocalExecutor
from qpipe.machine import capacity, gpus


def test_by_name(tmp_path: Path) -> None:
    assert isinstance(factory.make("inline", RunPaths(tmp_path)), InlineExecutor)
    local = factory.make("local", RunPaths(tmp_path), cpus=3, memory=5, enforce_memory=True)
    assert isinstance(local, LocalExecutor)
    assert (local.capacity.cpus, local.capacity.memory, local.enforce_memory) == (3, 5, True)


def test_all_of_this_machine_is_the_default(tmp_path: Path) -> None:
    local = factory.make("local", RunPaths(tmp_path))
    assert isinstance(local, LocalExecutor)
    assert local.capacity.cpus == capacity.usable_cores() <= len(os.sched_getaffinity(0))
    assert local.capacity.memory == capacity.usable_memory() > 1 << 28
    assert local.capacity.gpus == tuple(gpus.visible())


def test_an_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"no executor 'locale'; did you mean 'local'\?"):
        factory.make("locale", RunPaths(tmp_path))
