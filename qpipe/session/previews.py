"""Models before they are made: each tensor's type and the exact size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from qpipe.core.forecast import Forecast
from qpipe.errors import QpipeError
from qpipe.session.inputs import AvailableInputs
from qpipe.session.refusals import refuses
from qpipe.session.requirements import stage_of

if TYPE_CHECKING:
    from qpipe.stages.base import Preview


def previews(forecasts: Sequence[Forecast]) -> dict[str, Preview | QpipeError]:
    """Map the ids of nodes that are not in the store to previews, or to the errors of those that
    would fail.

    Nodes are left out that foresee nothing, most of them where an input has to be made first.
    """
    made: dict[str, Preview | QpipeError] = {}
    with TemporaryDirectory(prefix="qpipe-plan-") as temporary:
        inputs = AvailableInputs(forecasts, Path(temporary))
        for item in forecasts:
            node = item.node
            if item.state == "cached":
                continue
            try:
                with inputs.in_users_words(item):
                    preview = _preview(item, inputs, made)
            except QpipeError as error:
                made[node.id] = error
            else:
                made |= {} if preview is None else {node.id: preview}
    return made


def _preview(
    item: Forecast, inputs: AvailableInputs, made: Mapping[str, Preview | QpipeError]
) -> Preview | None:
    from qpipe.stages.base import Preview

    stage = stage_of(item.node.runtime.entry)
    order, params = inputs.order(item), inputs.params(item.node)
    if refuses(item.node) and not item.made_before:
        stage.refuse(params, inputs.ahead(item))
    if order.inputs.keys() != item.node.inputs.keys() and not stage.foresees:
        return None
    coming = {role: made.get(node) for role, node in item.node.inputs.items()}
    foreseen = {role: p for role, p in coming.items() if isinstance(p, Preview)}
    return stage.preview(params, replace(order, foreseen=foreseen))
