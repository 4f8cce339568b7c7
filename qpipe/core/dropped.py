"""Bytes that went once nothing of a run needed them, and the manifests that stay in their place.

A manifest says what the artifact held. So what was made of it is found without it, and it is made
again where its bytes are needed after all.
"""

from __future__ import annotations

from pathlib import Path

from qpipe.core import file_lock
from qpipe.core.claim import barred
from qpipe.core.layout import MANIFEST
from qpipe.core.manifest import DamagedError, Manifest
from qpipe.core.store import Artifact, ArtifactStore
from qpipe.machine.filesystem import move_out, remove_tree

LARGE = 1 << 20
"""Bytes from which on an artifact is worth dropping."""


def recall(store: ArtifactStore, key: str) -> Artifact | None:
    """Return an artifact whose bytes went: its path leads nowhere. None if there was none."""
    try:
        manifest = Manifest.load(store.paths.dropped(key))
    except (DamagedError, OSError):
        return None
    return Artifact(store.paths.artifact(key), manifest) if manifest.key == key else None


def drop(store: ArtifactStore, artifact: Artifact) -> bool:
    """Remove the bytes of an artifact, but for its manifest; return whether they went.

    They stay where another process uses them, where a pinned run has them, and where they are
    somebody else's. Raises OutOfSpaceError or StoreError if the store cannot be written.
    """
    try:
        target = _taken_out(store, artifact)
    except OSError as error:
        raise store.explain(error) from error
    if target is None:
        return False
    remove_tree(target, store.digests.unlink)
    return True


def _taken_out(store: ArtifactStore, artifact: Artifact) -> Path | None:
    """Move the artifact aside; return where it is then, None if it stays."""
    from qpipe.core import gc  # what keeps everything needs none of it

    key = artifact.key
    with file_lock.held(store.paths.gc_lock):
        if barred(artifact.path) or key in gc.spared(store, but_for=store.note):
            return None
        kept = store.paths.dropped(key) / MANIFEST
        kept.parent.mkdir(parents=True, exist_ok=True)
        file_lock.write_atomic(kept, artifact.manifest.dump(), sync=False)
        target = store.paths.aside / f"{key}.gc-{file_lock.unique()}"
        target.parent.mkdir(parents=True, exist_ok=True)
        move_out(artifact.path, target)
    return target
