"""Pinning what is at an address, by the SHA-256 of its files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from qpipe.core.digests import Digests
from qpipe.core.env_values import reveal
from qpipe.core.key import Json
from qpipe.core.layout import StorePaths
from qpipe.errors import SourceError
from qpipe.sources import model_class, remote, remote_store
from qpipe.sources.model_class import ModelClass
from qpipe.sources.remote import RemoteSource


@dataclass
class RemotePins:
    """Pins addresses; the fields are those of `Pinner`, and ``notes`` and ``learned`` become so."""

    hashes: Path
    lines: Mapping[str, str]
    learn: Callable[[RemoteSource], dict[str, str]] | None
    anew: bool
    notes: dict[str, str] = field(default_factory=dict)
    learned: dict[str, str] = field(default_factory=dict)

    def pin(
        self, url: str, revision: str | None, sha256: Sequence[str]
    ) -> tuple[dict[str, Json], dict[str, Json]]:
        """Return what a node of the address has for its key, and to locate it. Raises
        SourceError."""
        source, behind = remote.parse(url)
        if revision is not None:
            raise SourceError(
                f"{source.shown}: model.revision is of a repository on the hub; what is at an "
                "address is pinned by model.sha256"
            )
        if behind is not None and sha256 and [behind] != [*sha256]:
            raise SourceError(f"{source.shown}: model.sha256 and #sha256= behind it differ")
        digests = self._digests(source, sha256 or ([behind] if behind is not None else []))
        one = [*digests] == [source.name]
        return {"kind": "remote", "files": dict(sorted(digests.items()))}, {
            "url": source.hidden(),
            "address": source.shown,
            "name": source.name,
            "shown": source.shown.rpartition("/")[0] if one else source.shown,
            "partial": str(remote_store.folder_of(source, StorePaths(self.hashes.parent))),
        }

    def _digests(self, source: RemoteSource, given: Sequence[str]) -> dict[str, str]:
        """The digests of the files of an address: those that are given, that the lock file has, or
        the first use had, else those that they have now. Raises SourceError."""
        if given:
            names = [source.name] if len(given) == 1 and not source.in_parts else source.names()
            return remote.paired(source.shown, names, given)
        if source.is_plain:
            raise SourceError(
                f"{source.shown}: what comes over http:// can be changed on the way: give "
                "model.sha256, or the address with https://"
            )
        store = StorePaths(self.hashes.parent)
        digests = source.pinned(self.lines)
        if not digests and not self.anew:
            digests = remote_store.recall(source, store)
        if not digests:
            if self.learn is None:
                raise SourceError(
                    f"{source.shown}: the SHA-256 of what is there is not known yet: have `qpipe "
                    "lock` (or `qpipe run`) with the same words fetch it, show it and write it "
                    "into the lock file, or, for one file, give model.sha256"
                )
            digests = self.learn(source)
            self.learned |= source.pins(digests)
        self.notes |= source.pins(digests)
        return digests


def checkpoint_class(
    params: Mapping[str, Json], where: Mapping[str, Json], hashes: Path
) -> ModelClass | None:
    """The class of a checkpoint at an address, of which config.json alone is fetched; None for a
    GGUF file. Raises SourceError."""
    digests = params["files"]
    assert isinstance(digests, Mapping)
    if model_class.CONFIG not in digests:
        return None
    digest = str(digests[model_class.CONFIG])
    note = hashes / f"class-{digest}"
    found = model_class.recall(note)
    if found is None:
        source, _ = remote.parse(str(reveal(where["url"])))
        folder = Path(str(where["partial"]))
        with remote_store.held(folder):
            wanted = {model_class.CONFIG: digest}
            files = remote_store.fetched(source, folder, wanted, Digests(hashes))
            found = model_class.read(files[model_class.CONFIG])
        if found is not None:
            model_class.remember(note, found)
    return found
