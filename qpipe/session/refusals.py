"""What would fail, before a run starts anything: by inputs at hand, and by what is missing here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING

from qpipe.core.graph import Node
from qpipe.errors import EngineMissingError, QpipeError
from qpipe.session.inputs import AvailableInputs, stage_of

if TYPE_CHECKING:
    from qpipe.core.executor import Executor
    from qpipe.core.forecast import Forecast


def refusals(forecasts: Sequence[Forecast], inputs: AvailableInputs) -> dict[str, QpipeError]:
    """Map the ids of nodes that are not in the store, have asides, or are made again, to the
    errors of those that would fail (`Stage.refuse`)."""
    errors: dict[str, QpipeError] = {}
    for item in forecasts:
        if settled(item) or not refuses(item.node):
            continue
        try:
            with inputs.in_users_words(item):
                inputs.coming(item)
                order = inputs.ahead(item)
                stage_of(item.node.runtime.entry).refuse(inputs.params(item.node), order)
        except QpipeError as error:
            errors[item.node.id] = error
    return errors


def settled(item: Forecast) -> bool:
    """Return whether a node is in the store, and no setting may refuse what is there."""
    return item.state == "cached" and not item.node.runtime.asides


def refuses(node: Node) -> bool:
    """Return whether a node's stage can refuse its inputs beforehand."""
    from qpipe.stages.base import Stage

    own: object = stage_of(node.runtime.entry).refuse
    return getattr(own, "__func__", own) is not Stage.refuse.__func__  # type: ignore[attr-defined]


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


@cache
def _problem(entry: str) -> str | None:
    from qpipe.stages.plugins import problem

    return problem(stage_of(entry))
