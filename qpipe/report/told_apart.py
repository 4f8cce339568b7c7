"""Models of several runs that have one name and are not the same: their runs' names are added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from qpipe.results.comparison import ModelRow

# The roles by which something is made from a model.
_FROM = ("model", "checkpoint")
_DOWNLOAD = "download"

Run = tuple[str, Sequence[Mapping[str, Any]], Sequence[ModelRow]]
"""The name of a run, its nodes and its rows, as `qpipe.report.runs.Summary` has them."""


def told_apart(runs: Sequence[Run]) -> list[list[ModelRow]]:
    """Return the rows of each run, with another name for each model that shares its own with one of
    other files: the repository's whole name, or its own with the first run that it is in.

    The files are those of the node that fetched them; where a run does not say which that was, its
    rows keep their names.
    """
    sources = [_sources(nodes, rows) for _, nodes, rows in runs]
    names: dict[str, dict[str, str]] = {}
    for (run, _, _), of_models in zip(runs, sources, strict=True):
        for model, (key, repository) in of_models.items():
            names.setdefault(model, {}).setdefault(key, repository or f"{model} ({run})")
    return [
        [_renamed(row, of_models, names) for row in rows]
        for (_, _, rows), of_models in zip(runs, sources, strict=True)
    ]


def _renamed(
    row: ModelRow,
    sources: Mapping[str, tuple[str, str | None]],
    names: Mapping[str, Mapping[str, str]],
) -> ModelRow:
    if row.model is None or row.model not in sources:
        return row
    others = names[row.model]
    if len(others) == 1:
        return row
    name = others[sources[row.model][0]]
    alike = [*others.values()].count(name) > 1  # another commit of one repository
    return replace(row, model=f"{name} ({sources[row.model][0][:6]})" if alike else name)


def _sources(
    nodes: Sequence[Mapping[str, Any]], rows: Sequence[ModelRow]
) -> dict[str, tuple[str, str | None]]:
    """The key of the files that each model of a run was made from, and the repository's name."""
    by_name = {node["name"]: node for node in nodes}
    by_key = {node["key"]: node for node in nodes if node["key"]}
    sources: dict[str, tuple[str, str | None]] = {}
    for row in rows:
        node = by_key.get(row.key)
        for _ in nodes:
            if node is None or node["stage"] == _DOWNLOAD:
                break
            inputs = node["inputs"] or {}
            source = next((inputs[role] for role in _FROM if role in inputs), None)
            node = by_name.get(source) if isinstance(source, str) else None
        if row.model and node is not None and node["stage"] == _DOWNLOAD and node["key"]:
            repository = (node["params"] or {}).get("repo")
            # The first is the reference: others in its table may be made from other files.
            sources.setdefault(row.model, (node["key"], str(repository) if repository else None))
    return sources
