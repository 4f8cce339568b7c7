"""Where what comes from addresses lies in the store until it is an artifact, and what is remembered
of it: below ``partial/``, as all unfinished work, under a digest of the address."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from qpipe.core import file_lock
from qpipe.core.digests import Digests, stamp
from qpipe.core.key import bytes_sha256
from qpipe.core.layout import StorePaths
from qpipe.sources.remote import FetchProgress, RemoteSource


def folder_of(source: RemoteSource, store: StorePaths) -> Path:
    """The folder of what was fetched of an address and is no artifact yet."""
    return store.partial(bytes_sha256(source.label.encode()))


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other processes, gc among them, from a folder of `folder_of`."""
    with file_lock.held(StorePaths(folder.parent.parent).lock(folder.name)):
        yield


def fetched(
    source: RemoteSource,
    folder: Path,
    digests: Mapping[str, str],
    known: Digests | None,
    progress: FetchProgress = lambda done, total, unit: None,
) -> dict[str, Path]:
    """The files of an address in ``folder``, each with its digest: those that are there are read at
    most, if ``known`` has not their digests. Raises SourceError."""
    there = {name: folder / name for name in digests if (folder / name).is_file()}
    reader = known or Digests(folder / "hashes")
    for name in [name for name, path in there.items() if reader.of(path) != digests[name]]:
        there.pop(name).unlink()
    missing: dict[str, str | None] = {n: d for n, d in digests.items() if n not in there}
    new = source.fetched(folder, missing, progress)
    return {**there, **{name: each.path for name, each in new.items()}}


def learned(
    source: RemoteSource, store: StorePaths, progress: FetchProgress = lambda *_: None
) -> dict[str, str]:
    """The digests of the files of an address as they are now: what is not known to be as it was is
    fetched, and kept for the stage that needs it. Raises SourceError."""
    folder = folder_of(source, store)
    names = source.names()
    known = _noted(source, store)
    if {*known} == {*names} and all(version for _, version in known.values()):
        now = source.versions(names)
        if all(now[name] == version for name, (_, version) in known.items()):
            return {name: digest for name, (digest, _) in known.items()}
    with held(folder):
        files = source.fetched(folder, dict.fromkeys(names), progress)
        for each in files.values():
            Digests(store.hashes).note(stamp(each.path.stat()), each.sha256)
    record = {name: [each.sha256, each.version] for name, each in files.items()}
    with suppress(OSError):  # a store that cannot be written has the next use ask again
        text = json.dumps(record).encode()
        file_lock.write_atomic(_note(source, store), text, sync=False)
    return {name: each.sha256 for name, each in files.items()}


def recall(source: RemoteSource, store: StorePaths) -> dict[str, str]:
    """The digests of the files of an address at their first use; none if there was none."""
    return {name: digest for name, (digest, _) in _noted(source, store).items()}


def _noted(source: RemoteSource, store: StorePaths) -> dict[str, tuple[str, str | None]]:
    with suppress(OSError, ValueError, TypeError, AttributeError):  # none, or of another make
        record = json.loads(_note(source, store).read_bytes())
        return {str(name): (str(digest), version) for name, (digest, version) in record.items()}
    return {}


def _note(source: RemoteSource, store: StorePaths) -> Path:
    return store.hashes / f"address-{bytes_sha256(source.label.encode())}"
