"""What is made again though it is in the store: the nodes of named stages, and what came out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qpipe.core.graph import Graph, PlannedJob
from qpipe.core.manifest import Manifest
from qpipe.errors import UsageError, nearest
from qpipe.results.facts import measurement

# Figures that are shown of what came out otherwise.
_MOST = 4


def named_nodes(
    stages: Sequence[str], jobs: Iterable[PlannedJob], graph: Graph, *, strict: bool = True
) -> frozenset[str]:
    """Return the ids of the nodes of stages, by a stage's name or by what it uses.

    Raises UsageError for a name that no stage of any job has, unless not ``strict``.
    """
    by_name: dict[str, set[str]] = {}
    kinds: dict[str, set[str]] = {}
    for job in jobs:
        for name, node in job.nodes.items():
            by_name.setdefault(name, set()).add(node)
            kinds.setdefault(graph[node].stage, set()).add(node)
    known = {**kinds, **by_name}
    for stage in stages:
        if strict and stage not in known:
            names = [name for name in known if ":" not in name]  # a file's node is named after it
            raise UsageError(f"--again {stage}: no stage of this run; {nearest(stage, names)}")
    return frozenset(node for stage in stages for node in known.get(stage, ()))


def changed_figures(before: Manifest, after: Manifest) -> str:
    """Return the scores that came out otherwise, in words: ``ppl 9.1448 → 9.1450``."""
    old = {score.name: score.value for score in measurement(before.facts).scores}
    new = {score.name: score.value for score in measurement(after.facts).scores}
    changed = [name for name in new if name in old and new[name] != old[name]]
    words = [f"{name} {_both(old[name], new[name])}" for name in changed]
    more = [f"{len(words) - _MOST} more"] if len(words) > _MOST else []
    return ", ".join(words[:_MOST] + more)


def _both(before: float, after: float) -> str:
    """Two numbers in as few figures, of six at least, as tell them apart."""
    for digits in (6, 9, 12, 17):
        shown = f"{before:.{digits}g}", f"{after:.{digits}g}"
        if shown[0] != shown[1]:
            break
    return " → ".join(shown)
