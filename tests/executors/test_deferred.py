"""An executor that is made at the first question, and once."""

from __future__ import annotations

from qpipe.core.executor import Executor
from qpipe.core.graph import Resources
from qpipe.executors.factory import DeferredExecutor
from qpipe.executors.inline import InlineExecutor


def test_it_is_made_once_and_not_to_be_stopped() -> None:
    made: list[Executor] = []

    def make() -> Executor:
        made.append(InlineExecutor())
        return made[-1]

    executor = DeferredExecutor(make)
    executor.cancel()
    assert not made
    assert executor.check(Resources()) is None
    assert executor.has_room(Resources())
    assert len(made) == 1
