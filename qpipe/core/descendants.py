"""What was made from an artifact: where its bytes were wrong, so may all of that be."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from qpipe.core.key import content_digest, file_sha256
from qpipe.core.layout import MANIFEST
from qpipe.core.manifest import Manifest
from qpipe.core.store import ArtifactStore, Damage
from qpipe.errors import QpipeError


def set_aside(store: ArtifactStore, damage: Damage, *, since: float = -math.inf) -> list[Damage]:
    """Move what was made from a damaged artifact, directly or not, to quarantine.

    Of what was made from it directly, only what was finished after ``since`` (seconds since the
    epoch). Where its manifest alone is damaged, what was made from the bytes that are there stays.
    Raises StoreError if the store cannot be written.
    """
    right = _digest(damage.moved_to)
    users = _users(store)
    front = [
        (manifest, damage.key)
        for manifest in users[damage.key]
        if manifest.created > since and right not in _digests(manifest, damage.key)
    ]
    reasons: dict[str, str] = {}
    while front:
        manifest, cause = front.pop()
        if manifest.key not in reasons:
            reasons[manifest.key] = f"it was made from {cause[:12]}, which is damaged"
            front += [(user, manifest.key) for user in users[manifest.key]]
    return [store.set_aside(key, reason) for key, reason in reasons.items()]


def warnings(store: ArtifactStore, name: str, damage: Damage) -> Iterator[str]:
    """Yield what is to be said of a damaged artifact that was moved to quarantine; what was made
    from wrong bytes is moved along. Raises StoreError if the store cannot be written."""
    yield f"{name}: {damage.problem}; moved to {damage.moved_to}, made again"
    if damage.since is None:
        return
    for other in set_aside(store, damage, since=damage.since):
        if other.moved_to is not None:
            yield f"{other.key[:12]}: {other.problem}; moved to {other.moved_to}"


def _users(store: ArtifactStore) -> Mapping[str, list[Manifest]]:
    """Manifests of what was made directly from an artifact, by that artifact's key."""
    users: defaultdict[str, list[Manifest]] = defaultdict(list)
    for key in store.all_keys():
        try:
            manifest = Manifest.load(store.paths.artifact(key))
        except (QpipeError, OSError):
            continue  # damaged itself: `qpipe verify` says so
        for input_key in {entry["key"] for entry in manifest.inputs.values()}:
            users[input_key].append(manifest)
    return users


def _digests(manifest: Manifest, input_key: str) -> set[str]:
    return {entry["digest"] for entry in manifest.inputs.values() if entry["key"] == input_key}


def _digest(folder: Path | None) -> str | None:
    """The content digest of the files that are there; None if they cannot be read."""
    if folder is None:
        return None
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST]
    try:
        return content_digest(
            (path.relative_to(folder).as_posix(), path.stat().st_size, file_sha256(path))
            for path in paths
        )
    except OSError:
        return None
