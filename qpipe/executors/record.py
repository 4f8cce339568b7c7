"""A work item as its worker reads it, and a worker's result as the runner takes it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from qpipe.core.executor import WorkItem, WorkOutput
from qpipe.core.manifest import FileEntry, Usage
from qpipe.errors import QpipeError, from_record


def to_record(item: WorkItem) -> dict[str, Any]:
    """The content of job.json."""
    node = item.node
    return {
        "name": node.name,
        "entry": node.runtime.entry,
        "params": {**node.params, **node.runtime.asides},
        "key": item.key,
        "inputs": {role: str(path) for role, path in item.inputs.items()},
        "origins": dict(item.origins),
        "out": str(item.out),
        "partial": str(item.partial),
        "hashes": None if item.hashes is None else str(item.hashes),
        "where": dict(node.runtime.where),
        "threads": max(1, item.needs.cpus),
        "parent": os.getpid(),
    }


def to_outcome(record: Mapping[str, Any]) -> WorkOutput | QpipeError:
    """The output, or the error, that a result record holds."""
    if "error" in record:
        return from_record(record["error"])
    return WorkOutput(
        files=[FileEntry(**entry) for entry in record["files"]],
        facts=record["facts"],
        usage=Usage(**record["usage"]),
        tools=record["tools"],
        machine=record["machine"],
    )
