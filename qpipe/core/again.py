"""Making again what is in the store: each key once in a run, and how it compares with before."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from qpipe.core.events import MadeAgain
from qpipe.core.graph import Node
from qpipe.core.manifest import Manifest
from qpipe.core.run_settings import Compares
from qpipe.core.store import Artifact


@dataclass
class Again:
    """Nodes to be made again, by ``ids``, and what their artifacts were before, by key."""

    ids: Collection[str]
    compares: Compares
    _made: set[str] = field(default_factory=set)
    _before: dict[str, Artifact] = field(default_factory=dict)

    def __contains__(self, node: Node) -> bool:
        """True if it was asked for that this node is made again."""
        return node.id in self.ids

    def wants(self, node: Node, key: str) -> bool:
        """True if the artifact of this key has to be made though it is there."""
        return node.id in self.ids and key not in self._made

    def replace(self, before: Artifact) -> None:
        """Take note of what is to be replaced once the new one is whole."""
        self._before[before.key] = before

    def replaces(self, key: str) -> bool:
        """True if the artifact of this key is there, and is being made again."""
        return key in self._before

    def made(self, node: Node, artifact: Artifact, kept_at: Path | None) -> MadeAgain | None:
        """Take note of what a node made, and say how it compares with what was there before.

        ``kept_at`` is where the earlier one was moved; None where its bytes are the same. None for
        a node that was not made again.
        """
        self._made.add(artifact.key)
        before = self._before.pop(artifact.key, None)
        if before is None:
            return None
        text = _comparison(before.manifest, artifact.manifest, self.compares, kept_at)
        return MadeAgain(node.id, node.name, text, kept_at is not None)


def _comparison(before: Manifest, after: Manifest, compares: Compares, kept_at: Path | None) -> str:
    figures = compares(before, after)
    if kept_at is None:
        return f"as before, byte for byte{f'; {figures}' if figures else ''}"
    had = {entry.path: entry.sha256 for entry in before.files}
    has = {entry.path: entry.sha256 for entry in after.files}
    changed = sorted(path for path in had.keys() | has.keys() if had.get(path) != has.get(path))
    more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
    return (
        f"other bytes than before under the same key, in {changed[0]}{more}"
        f"{f': {figures}' if figures else ''}; the earlier one is in {kept_at}"
    )
