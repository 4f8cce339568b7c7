"""What this machine lacks for a node's stage: asked before anything runs."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

from qpipe.errors import EngineMissingError

if TYPE_CHECKING:
    from qpipe.core.executor import Executor
    from qpipe.core.forecast import Forecast
    from qpipe.core.graph import Node
    from qpipe.stages.base import Stage


def lacks(node: Node) -> str | None:
    """Return why the node's stage cannot run on this machine, with the command that helps."""
    return _problem(node.runtime.entry)


def missing(forecasts: Iterable[Forecast], executor: Executor) -> dict[str, EngineMissingError]:
    """Map node ids to what a run would lack for them, before it starts anything."""
    problems = {}
    for item in forecasts:
        if item.state == "cached" or item.made_before:
            continue
        node = item.node
        if why := lacks(node) or executor.check(node.runtime.resources):
            problems[node.id] = EngineMissingError(why)
    return problems


def stage_of(entry: str) -> type[Stage]:
    """Import the class behind a node's entry."""
    module, _, name = entry.partition(":")
    stage: type[Stage] = getattr(importlib.import_module(module), name)
    return stage


@cache
def _problem(entry: str) -> str | None:
    from qpipe.stages.plugins import problem

    return problem(stage_of(entry))
