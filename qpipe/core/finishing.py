"""What the runner does with a job that has ended: was it right, and what is to be written of it."""

from __future__ import annotations

import time
from collections.abc import Mapping

from qpipe.core import whole
from qpipe.core.executor import Done, Job, Output
from qpipe.core.manifest import Manifest
from qpipe.core.store import Artifact, Store
from qpipe.errors import StoreError


def changed_input(store: Store, done: Done, inputs: Mapping[str, Artifact]) -> StoreError | None:
    """The error if an input is no longer what its digest says, else None.

    What was made from such an input is worth nothing.
    """
    if isinstance(done.outcome, Output):  # a link to an input's file gave that another stamp
        whole.learn(done.job.out, done.outcome.files, store.digests)
    for artifact in inputs.values():
        try:
            problem = store.changed(artifact)
        except OSError as error:
            problem = f"it cannot be read ({error})"
        if problem is not None:
            return StoreError(
                f"{done.job.node.name}: its input {artifact.path} changed while it was in use: "
                f"{problem}; run the same command again, it is made anew"
            )
    return None


def manifest(job: Job, output: Output, inputs: Mapping[str, Artifact]) -> Manifest:
    """The manifest of what a job made, finished now."""
    node = job.node
    digests = node.digests({role: made.manifest for role, made in inputs.items()})
    return Manifest(
        key=job.key,
        id=node.id,
        name=node.name,
        stage=node.stage,
        version=node.version,
        params=node.params,
        engine=node.engine,
        inputs={
            role: {"key": made.key, "digest": digests[role], "name": made.manifest.name}
            for role, made in inputs.items()
        },
        files=output.files,
        facts=output.facts,
        usage=output.usage,
        tools=output.tools,
        machine=output.machine,
        created=time.time(),
    )
