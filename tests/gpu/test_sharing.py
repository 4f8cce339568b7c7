"""Workers that are forked compute on the card that they were given, and two runs never at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from qpipe.core.executor import WorkOutput
from qpipe.core.graph import Node, Resources, Runtime
from qpipe.core.layout import RunPaths
from qpipe.core.store import ArtifactStore
from qpipe.executors.forking import ForkedProcess
from qpipe.executors.local import Capacity, LocalExecutor
from qpipe.hf.modules import MODULES
from qpipe.machine import gpus
from tests.contract.running import Bench, toy

pytestmark = pytest.mark.skipif(not gpus.visible(), reason="needs an NVIDIA GPU")


def computing(text: str) -> Node:
    one = toy("Write", {"text": text}, name=text)
    runtime = Runtime("tests.gpu.toys:OnTheCard", Resources(1, 0, 1), imports=MODULES)
    return replace(one, runtime=runtime)


def bench(folder: Path) -> Bench:
    executor = LocalExecutor(RunPaths(folder / "run"), Capacity(2, None, tuple(gpus.visible())))
    return Bench(executor, ArtifactStore(folder / "store"))


def test_a_forked_worker_computes_on_its_card(tmp_path: Path) -> None:
    first = bench(tmp_path / "first")
    nodes = [computing(text) for text in "ab"]
    first.executor.foresee(nodes)
    for node in nodes:
        first.submit(node)
        assert isinstance(first.executor, LocalExecutor)
        process = first.executor.workers[0].process
        assert isinstance(process, ForkedProcess)
        outcome = first.wait(seconds=120)
        assert isinstance(outcome, WorkOutput), outcome
        assert outcome.facts["sum"] == 10.0
        assert outcome.facts["cards"] == 1
        assert "not forked" not in Path(str(first.log)).read_text()
    first.close()


def test_a_card_that_is_booked_is_booked_for_others(tmp_path: Path) -> None:
    first, second = bench(tmp_path / "first"), bench(tmp_path / "second")
    needs = Resources(1, 0, len(gpus.cards(tuple(gpus.visible()))))
    assert needs.gpus > 0
    assert first.executor.has_room(needs)
    assert not second.executor.has_room(replace(needs, gpus=1))
    assert "for a GPU, held by pid" in second.executor.held_up()
    first.executor.rest()
    assert second.executor.has_room(replace(needs, gpus=1))
    for each in (first, second):
        each.close()
