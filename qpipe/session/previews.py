"""Models before they are made: each tensor's type and the exact size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from qpipe.core.forecast import Forecast
from qpipe.errors import QpipeError
from qpipe.results.preview import Preview
from qpipe.session.inputs import AvailableInputs, stage_of
from qpipe.session.refusals import refuses, settled

if TYPE_CHECKING:
    from qpipe.sources.hub import ComingFiles


def previews(
    forecasts: Sequence[Forecast], inputs: AvailableInputs
) -> dict[str, Preview | QpipeError]:
    """Map the ids of nodes that are not in the store to previews, or to the errors of those that
    would fail.

    Nodes are left out that foresee nothing, most of them where an input has to be made first.
    """
    results: dict[str, Preview | QpipeError] = {}
    for item in forecasts:
        node = item.node
        if settled(item):
            continue
        try:
            with inputs.in_users_words(item):
                preview = _preview(item, inputs, results)
        except QpipeError as error:
            results[node.id] = error
        else:
            results |= {} if preview is None or item.state == "cached" else {node.id: preview}
    return results


def _preview(
    item: Forecast, inputs: AvailableInputs, results: Mapping[str, Preview | QpipeError]
) -> Preview | None:
    if (coming := inputs.coming(item)) is not None:
        return _of_download(coming)
    stage = stage_of(item.node.runtime.entry)
    params = inputs.params(item.node)
    if refuses(item.node) and (not item.made_before or item.node.runtime.asides):
        stage.refuse(params, inputs.ahead(item))
    order = inputs.ahead(item) if stage.foresees else inputs.order(item)
    if order.inputs.keys() != item.node.inputs.keys() and not stage.foresees:
        return None
    coming_from = {role: results.get(node) for role, node in item.node.inputs.items()}
    foreseen = {role: p for role, p in coming_from.items() if isinstance(p, Preview)}
    return stage.preview(params, replace(order, foreseen=foreseen))


def _of_download(coming: ComingFiles) -> Preview | None:
    if coming.size is None:
        return None
    facts = {"format": "files", "size_bytes": coming.size, "download_bytes": coming.absent}
    return Preview(facts, {})
