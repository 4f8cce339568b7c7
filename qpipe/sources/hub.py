"""The Hugging Face hub, through huggingface_hub: what a repository holds, and what is taken of it.

HF_ENDPOINT, HF_TOKEN, HF_HOME and HF_HUB_OFFLINE mean what they mean to huggingface_hub.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

from qpipe.errors import SourceError, UnreachableError, quoted
from qpipe.gguf import split
from qpipe.sources import digest_check, model_files, no_model
from qpipe.sources.arrival import Arriving
from qpipe.sources.hub_download import (
    HubFile,
    ListedFile,
    bring,
    bring_all,
    cache_folder,
    snapshot_folder,
)
from qpipe.sources.hub_errors import (
    endpoint,
    hub_errors,
    no_such_file,
    patiently,
    unreachable,
)
from qpipe.sources.hub_source import HubSource, is_commit
from qpipe.sources.local_files import INDEX_BYTES
from qpipe.support.files import read_file
from qpipe.support.inside import is_inner

_CONFIG = "config.json"

FetchProgress: TypeAlias = Callable[[int, int, str], None]


def resolve_commit(source: HubSource, last: str | None = None) -> str:
    """The commit SHA that a branch, tag or short hash stands for now.

    With HF_HUB_OFFLINE it is ``last``, that which the hub named last, or what the hub's own cache
    knows. Raises SourceError.
    """
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE:
        return last or _cached_commit(source)
    with hub_errors(source):
        info = patiently(
            lambda: HfApi().repo_info(source.repo, revision=source.revision, repo_type=source.kind)
        )
    if info.sha is None or not is_commit(info.sha):
        raise SourceError(f"{source.label}: the hub did not say which commit this is")
    return info.sha


def _cached_commit(source: HubSource) -> str:
    refs = cache_folder(source) / "refs"
    with contextlib.suppress(OSError):
        commit = (refs / source.revision).read_text(errors="replace").strip()
        if is_commit(commit):
            return commit
    raise SourceError(
        f"{source.label}: HF_HUB_OFFLINE is set, and neither this store nor the hub's cache knows "
        f"revision {source.revision!r}; name a commit SHA (40 digits) as the revision, or run "
        "`qpipe lock` once with a network"
    )


def fetch(
    source: HubSource,
    progress: FetchProgress = lambda done, total, unit: None,
    notes: list[str] | None = None,
) -> list[HubFile]:
    """The files of a repository (or the one file asked for) in the hub's own cache.

    ``source.revision`` is a commit. Downloads go on at the byte where they stopped; ``progress``
    takes (bytes done, bytes in all, "bytes"). ``notes`` gets what the user should know. Raises
    SourceError.
    """
    if source.one_file is not None:
        names = with_parts(source.one_file)
        listed = _paths(source, names)
    else:
        listing = _listing(source)
        listed = (
            {name: ListedFile(name) for name in _cached(source)} if listing is None else listing
        )
        names = _chosen(source, [*listed], cached=listing is None)
        if notes is not None:
            notes += model_files.passed_over(source.label, [*listed], names)
    files = [listed.get(name, ListedFile(name)) for name in names]
    return bring_all(source, files, Arriving(progress))


@dataclass(frozen=True)
class ComingFiles:
    """The files that `fetch` would bring.

    ``config`` is config.json of a checkpoint (None if it is none), which is fetched; ``size`` the
    bytes of all files, ``absent`` of those that the hub's cache does not have yet (None where the
    hub does not tell).
    """

    config: Path | None
    size: int | None
    absent: int | None


def look(source: HubSource) -> ComingFiles:
    """Ask the hub what `fetch` would bring; of it, config.json alone is fetched. Asks once of a
    commit. Raises SourceError."""
    return _looked(source, str(cache_folder(source)), os.environ.get("HF_ENDPOINT", ""))


@lru_cache(maxsize=64)
def _looked(source: HubSource, cache: str, endpoint: str) -> ComingFiles:
    listing = _listing(source)
    sizes = None if listing is None else {name: file.size for name, file in listing.items()}
    if source.one_file is not None:
        parts = with_parts(source.one_file)
        _require(source, parts, sizes)
        return _coming(source, None, parts, sizes)
    names = _cached(source) if sizes is None else [*sizes]
    chosen = _chosen(source, names, cached=sizes is None)
    weights = any(model_files.names_weights(name) for name in chosen)
    config = _one(source, _CONFIG) if weights and _CONFIG in chosen else None
    return _coming(source, config, chosen, sizes)


def _require(source: HubSource, names: list[str], sizes: Mapping[str, int | None] | None) -> None:
    """Raise SourceError for files that are in no listing."""
    if sizes is not None and (absent := [name for name in names if name not in sizes]):
        raise no_such_file(source, absent[0])


def cached(source: HubSource) -> list[str]:
    """The files in the hub's cache that `look` takes into account, with the cache's folder: where
    these are the same, so is what it says. Without config.json, which it fetches."""
    snapshot = snapshot_folder(source)
    files = (path for path in snapshot.rglob("*") if path.is_file() and path.name != _CONFIG)
    return [str(snapshot), *sorted(path.relative_to(snapshot).as_posix() for path in files)]


def cached_config(source: HubSource) -> Path | None:
    """config.json of a commit in the hub's cache; None if it is not there. Nobody is asked."""
    file = snapshot_folder(source) / _CONFIG
    return file if file.is_file() else None


def _coming(
    source: HubSource, config: Path | None, names: list[str], sizes: Mapping[str, int | None] | None
) -> ComingFiles:
    bytes_of = {name: (sizes or {}).get(name) for name in names}
    known = [size for size in bytes_of.values() if size is not None]
    if len(known) < len(bytes_of):
        return ComingFiles(config, None, None)
    snapshot = snapshot_folder(source)
    absent = sum(s for name, s in bytes_of.items() if s and not (snapshot / name).is_file())
    return ComingFiles(config, sum(known), absent)


def file_names(source: HubSource) -> tuple[list[str], bool]:
    """The files of a repository at a commit, in folders too, and whether these are all: without a
    network they are those in the hub's cache. Raises SourceError."""
    listing = _listing(source)
    if listing is not None:
        return [*listing], True
    snapshot = snapshot_folder(source)
    files = [p.relative_to(snapshot).as_posix() for p in snapshot.rglob("*") if p.is_file()]
    if not files:
        raise SourceError(
            f"{source.label}: which file is of type {source.type} only the hub can tell, and "
            f"nobody answers; name the file: model.source={source.repo}/FILE.gguf"
        )
    return files, False


def _one(source: HubSource, name: str) -> Path:
    return bring(source, ListedFile(name), Arriving(_told_nobody)).path


def with_parts(file: str) -> list[str]:
    """A file, or all parts of the GGUF model of which it is one."""
    path = PurePosixPath(file)
    part = split.named(path.name)
    return [file] if part is None else [str(path.with_name(name)) for name in part.all_names()]


def _listing(source: HubSource) -> dict[str, ListedFile] | None:
    """The files of a repository by name; None where only the cache can tell."""
    import httpx
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE:
        return None
    try:
        with hub_errors(source, httpx.TransportError):
            info = patiently(
                lambda: HfApi().repo_info(
                    source.repo,
                    revision=source.revision,
                    repo_type=source.kind,
                    files_metadata=True,
                )
            )
    except httpx.ProxyError as error:
        with hub_errors(source):
            raise error from None
    except httpx.TransportError:
        return None
    siblings = getattr(info, "siblings", None) or ()  # huggingface_hub 1.33: kernels have none
    if outside := [one.rfilename for one in siblings if not is_inner(one.rfilename)]:
        raise SourceError(
            f"{source.label}: lists the file {quoted(outside[0])}, which is no place inside a "
            "folder; nothing was fetched. A mirror (HF_ENDPOINT) may be to blame"
        )
    return {one.rfilename: _listed(one.rfilename, one) for one in siblings}


def _paths(source: HubSource, names: list[str]) -> dict[str, ListedFile]:
    """Look these files up in the hub's listing; none where it has no such answer, as some mirrors:
    a file's head says the rest."""
    import httpx
    from huggingface_hub import HfApi, constants, errors

    if constants.HF_HUB_OFFLINE:
        return {}
    try:
        with hub_errors(source, httpx.TransportError, errors.HfHubHTTPError):
            infos = patiently(
                lambda: HfApi().get_paths_info(
                    source.repo, names, revision=source.revision, repo_type=source.kind
                )
            )
    except (httpx.TransportError, errors.HfHubHTTPError):
        return {}
    return {one.path: _listed(one.path, one) for one in infos if hasattr(one, "blob_id")}


def _listed(name: str, file: Any) -> ListedFile:
    """A file by what the client makes of the hub's listing."""
    digest = file.blob_id if file.lfs is None else file.lfs.sha256
    return ListedFile(
        name, file.size, digest if digest and digest_check.is_digest(digest) else None
    )


def _cached(source: HubSource) -> list[str]:
    """The names of the files of a repository that are in the hub's cache."""
    snapshot = snapshot_folder(source)
    templates = (snapshot / model_files.TEMPLATES).glob("*")
    return [model_files.place(p) for p in (*snapshot.glob("*"), *templates) if p.is_file()]


def _chosen(source: HubSource, names: list[str], *, cached: bool = False) -> list[str]:
    """The files of one model among ``names``. Raises SourceError if they are none, UnreachableError
    if they are what is ``cached``, where nobody tells what else there is."""
    if cached and not names:
        raise unreachable(source.label, "and the hub's cache has nothing of this commit")
    try:
        return _model_of(source, names)
    except SourceError as error:
        if not cached:
            raise
        raise UnreachableError(
            f"{error} (this is of what the hub's cache has of it: {endpoint()} cannot be reached)"
        ) from None


def _model_of(source: HubSource, names: list[str]) -> list[str]:
    chosen = model_files.selected_files(
        source.label,
        names,
        lambda name: read_file(_one(source, name), SourceError, most=INDEX_BYTES),
        repo=source.repo,
        weights=source.weights,
    )
    if not chosen:
        raise SourceError(
            f"{source.label}: nothing in this repository is part of a checkpoint "
            f"(looked for {', '.join(model_files.PATTERNS)} and *.gguf); for one file of it write "
            f"hf:{source.repo}@{source.revision}/FILE"
        )
    if source.kind == "model":
        no_model.require_among(source.label, chosen, beside=names)
    return chosen


def _told_nobody(done: int, total: int, unit: str) -> None:
    return


def fetch_again(source: HubSource, file: HubFile) -> HubFile:
    """A file of a snapshot once more, its blob removed first. Raises SourceError."""
    name = file.path.relative_to(snapshot_folder(source)).as_posix()
    digest_check.discard(file.path)
    return bring(source, ListedFile(name, digest=file.digest), Arriving(_told_nobody))
