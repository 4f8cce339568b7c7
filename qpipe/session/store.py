"""The artifact store from Python: what is in it, whether it is whole, and what may go."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from qpipe.core import descendants
from qpipe.core.layout import DEFAULT_RUNS, DEFAULT_STORE
from qpipe.core.manifest import Manifest
from qpipe.core.store import Artifact, ArtifactStore, Damage
from qpipe.core.worth import Collection
from qpipe.errors import StoreError, UsageError
from qpipe.session.collecting import collected
from qpipe.session.selection import Selection
from qpipe.support.quantities import parse_age, parse_size


class Store:
    """The artifacts that runs have made, in the folder ``path`` (default: QPIPE_STORE, else
    ``outputs/store``). Iterating gives them all."""

    def __init__(self, path: str | Path | None = None) -> None:
        """Keep the path; nothing is read or created."""
        self.path = Path(path or os.environ.get("QPIPE_STORE") or DEFAULT_STORE)
        self._store = ArtifactStore(self.path)

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r})"

    def __iter__(self) -> Iterator[Artifact]:
        """Yield every artifact, each with its folder (``path``) and ``manifest``, in the order of
        keys. Damaged ones are left out: `verify` tells of them."""
        for key in self._store.all_keys():
            try:
                artifact = self._store.peek(key)
            except StoreError:
                continue
            if artifact is not None:
                yield artifact

    def get(self, key: str) -> Artifact:
        """Return the artifact whose key begins with ``key``.

        Raises StoreError if there is none or several, or if it is damaged.
        """
        folder = self._store.paths.artifact(self._store.find(key))
        return Artifact(folder, Manifest.load(folder))

    def verify(
        self, key: str | None = None, *, on_key: Callable[[str, int, int], None] | None = None
    ) -> list[Damage]:
        """Read every byte of an artifact (default: of all) and return what is damaged, which is
        moved to quarantine together with what was made from it.

        ``on_key`` takes each key, its number and how many there are. Raises StoreError for a key
        that is none or of several.
        """
        keys = [self._store.find(key)] if key else list(self._store.all_keys())
        damaged: list[Damage] = []
        try:
            for number, one in enumerate(keys, 1):
                if on_key is not None:
                    on_key(one, number, len(keys))
                if one not in {damage.key for damage in damaged}:
                    damaged += self._verify(one)
        finally:
            self._store.close()  # what was read is not in use any more
        return damaged

    def _verify(self, key: str) -> list[Damage]:
        try:
            damage = self._store.verify(key)
        except (StoreError, OSError) as error:
            if not os.path.lexists(self._store.paths.artifact(key)):
                return []  # gc has taken it away since it was listed
            return [Damage(key, f"damaged, and left where it is: {error}", None)]
        return [] if damage is None else [damage, *descendants.set_aside(self._store, damage)]

    def collect(
        self,
        *,
        max_size: str | None = None,
        max_age: str | None = None,
        model: str | None = None,
        stage: str | None = None,
        run: str | None = None,
        runs: str | Path = DEFAULT_RUNS,
        dry_run: bool = False,
    ) -> Collection:
        """Remove artifacts unused for ``max_age`` ("30d"), then, until at most ``max_size``
        ("50GB") is left, those that cost the fewest seconds per byte to make again; measurements
        last. Limits hold for the artifacts of a ``model``, a ``stage`` and a ``run`` below
        ``runs``, if they are named. With ``dry_run`` only tell. Pinned runs and runs that go on are
        spared.

        Raises UsageError without a limit or for a name that is none, StoreError if the store
        cannot be written.
        """
        if max_size is None and max_age is None:
            raise UsageError("collect needs a limit: max_size='50GB', max_age='30d', or both")
        return collected(
            self._store,
            Path(runs),
            max_size=None if max_size is None else parse_size(max_size, option="max_size"),
            max_age=None if max_age is None else parse_age(max_age, option="max_age"),
            only=Selection(model, stage, run),
            dry_run=dry_run,
        ).collection
