"""How much room there is on full disks, and how much what is left of a run takes."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from qpipe.core.forecast import forecast
from qpipe.core.graph import Graph, Node
from qpipe.core.store import ArtifactStore
from qpipe.errors import QpipeError
from qpipe.report import numbers


def shortage(graph: Graph, store: ArtifactStore, runs: Path, left: Sequence[Node]) -> str:
    """Return the free bytes of the disks that a run writes to, and the bytes of those models among
    ``left`` that headers foretell, as words that follow a sentence."""
    needed = _needed(graph, store, {node.id for node in left})
    words = f"; free now: {', '.join(_free([store.paths.root, runs, Path(tempfile.gettempdir())]))}"
    return f"{words}; the models that are left to make take {needed}" if needed else words


def _free(folders: Iterable[Path]) -> list[str]:
    """The free bytes of each disk, with the first folder that lies on it."""
    disks: dict[int, str] = {}
    for folder in folders:
        try:
            device = os.stat(folder).st_dev  # noqa: PTH116
            free = shutil.disk_usage(folder).free
        except OSError:
            continue
        disks.setdefault(device, f"{numbers.size(free)} for {folder}")
    return [*disks.values()]


def _needed(graph: Graph, store: ArtifactStore, left: set[str]) -> str:
    """The bytes of models to be made, as far as previews tell; nothing if none does."""
    from qpipe.session.inputs import available
    from qpipe.session.previews import previews

    try:
        forecasts = forecast(graph, store)
        with available(forecasts) as inputs:
            coming = previews(forecasts, inputs)
    except (OSError, QpipeError):  # no room for its folder, or what there is cannot be read
        return ""
    facts = [
        preview.facts
        for node, preview in coming.items()
        if node in left and not isinstance(preview, QpipeError)
    ]
    sizes = [size for each in facts if isinstance(size := each.get("size_bytes"), int)]
    if not sizes:
        return ""
    largest = f", the largest of them {numbers.size(max(sizes))}" if len(sizes) > 1 else ""
    return f"{numbers.size(sum(sizes))}{largest}"
