"""A job as its worker reads it, and a worker's result as the runner takes it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from qpipe.core.executor import Job, Output
from qpipe.core.manifest import FileEntry, Usage
from qpipe.errors import QpipeError, from_record


def to_record(job: Job) -> dict[str, Any]:
    """The content of job.json."""
    node = job.node
    return {
        "name": node.name,
        "entry": node.runtime.entry,
        "params": dict(node.params),
        "key": job.key,
        "inputs": {role: str(path) for role, path in job.inputs.items()},
        "origins": dict(job.origins),
        "out": str(job.out),
        "partial": str(job.partial),
        "where": dict(node.runtime.where),
        "threads": max(1, job.needs.cpus),
        "parent": os.getpid(),
    }


def to_outcome(record: Mapping[str, Any]) -> Output | QpipeError:
    """The output, or the error, that a result record holds."""
    if "error" in record:
        return from_record(record["error"])
    return Output(
        files=[FileEntry(**entry) for entry in record["files"]],
        facts=record["facts"],
        usage=Usage(**record["usage"]),
        tools=record["tools"],
        machine=record["machine"],
    )
