"""The Hugging Face hub, through huggingface_hub: the only module that talks to it.

HF_ENDPOINT, HF_TOKEN, HF_HOME and HF_HUB_OFFLINE mean what they mean to huggingface_hub.
"""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

from qpipe.errors import OutOfSpaceError, SourceError, UnreachableError, quoted
from qpipe.gguf import split
from qpipe.machine.filesystem import is_full
from qpipe.sources import digest_check, model_files
from qpipe.sources.hub_source import HubSource, is_commit
from qpipe.sources.pinning import INDEX_BYTES
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
    with _our_errors(source):
        info = HfApi().repo_info(source.repo, revision=source.revision, repo_type=source.kind)
    if info.sha is None or not is_commit(info.sha):
        raise SourceError(f"{source.label}: the hub did not say which commit this is")
    return info.sha


def _cached_commit(source: HubSource) -> str:
    refs = _cache(source) / "refs"
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
) -> list[Path]:
    """The files of a repository (or the one file asked for) in the hub's own cache.

    ``source.revision`` is a commit. Downloads resume where they stopped; ``progress`` takes
    (bytes done, bytes in all, "bytes"). ``notes`` gets what the user should know. Raises
    SourceError.
    """
    from huggingface_hub import snapshot_download

    if source.one_file is not None:
        return [_one(source, name, progress) for name in _with_parts(source.one_file)]
    listed = _listed(source)
    names = _cached(source) if listed is None else listed
    if listed is None and not names:
        with _our_errors(source):  # its library says what is in the way
            snapshot_download(**_arguments(source), allow_patterns=[*model_files.PATTERNS])
        names = _cached(source)
    chosen = _chosen(source, names, cached=listed is None)
    if notes is not None:
        notes += model_files.passed_over(source.label, names, chosen)
    with _our_errors(source):
        # Patterns are fnmatch's (huggingface_hub 1.33): a bracket in a name would be one too.
        snapshot = snapshot_download(
            **_arguments(source),
            allow_patterns=[*map(glob.escape, chosen)],
            tqdm_class=_bar(progress),
        )
    return [Path(snapshot) / name for name in chosen]


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
    return _looked(source, str(_cache(source)), os.environ.get("HF_ENDPOINT", ""))


@lru_cache(maxsize=64)
def _looked(source: HubSource, cache: str, endpoint: str) -> ComingFiles:
    sizes = _sizes(source)
    if source.one_file is not None:
        return _coming(source, None, _with_parts(source.one_file), sizes)
    names = _cached(source) if sizes is None else [*sizes]
    chosen = _chosen(source, names, cached=sizes is None)
    weights = any(model_files.names_weights(name) for name in chosen)
    config = _one(source, _CONFIG, _told_nobody) if weights and _CONFIG in chosen else None
    return _coming(source, config, chosen, sizes)


def cached(source: HubSource) -> list[str]:
    """The files in the hub's cache that `look` takes into account, with the cache's folder: where
    these are the same, so is what it says. Without config.json, which it fetches."""
    snapshot = _cache(source) / "snapshots" / source.revision
    files = (path for path in snapshot.rglob("*") if path.is_file() and path.name != _CONFIG)
    return [str(snapshot), *sorted(path.relative_to(snapshot).as_posix() for path in files)]


def cached_config(source: HubSource) -> Path | None:
    """config.json of a commit in the hub's cache; None if it is not there. Nobody is asked."""
    file = _cache(source) / "snapshots" / source.revision / _CONFIG
    return file if file.is_file() else None


def _coming(
    source: HubSource, config: Path | None, names: list[str], sizes: Mapping[str, int | None] | None
) -> ComingFiles:
    bytes_of = {name: (sizes or {}).get(name) for name in names}
    known = [size for size in bytes_of.values() if size is not None]
    if len(known) < len(bytes_of):
        return ComingFiles(config, None, None)
    snapshot = _cache(source) / "snapshots" / source.revision
    absent = sum(s for name, s in bytes_of.items() if s and not (snapshot / name).is_file())
    return ComingFiles(config, sum(known), absent)


def file_names(source: HubSource) -> tuple[list[str], bool]:
    """The files of a repository at a commit, in folders too, and whether these are all: without a
    network they are those in the hub's cache. Raises SourceError."""
    names = _listed(source)
    if names is not None:
        return names, True
    snapshot = _cache(source) / "snapshots" / source.revision
    files = [p.relative_to(snapshot).as_posix() for p in snapshot.rglob("*") if p.is_file()]
    if not files:
        raise SourceError(
            f"{source.label}: which file is of type {source.type} only the hub can tell, and "
            f"nobody answers; name the file: model.source={source.repo}/FILE.gguf"
        )
    return files, False


def _arguments(source: HubSource) -> dict[str, Any]:
    return {"repo_id": source.repo, "revision": source.revision, "repo_type": source.kind}


def _one(source: HubSource, name: str, progress: FetchProgress) -> Path:
    from huggingface_hub import hf_hub_download

    with _our_errors(source):
        return Path(hf_hub_download(**_arguments(source), filename=name, tqdm_class=_bar(progress)))


def _with_parts(file: str) -> list[str]:
    """A file, or all parts of the GGUF model of which it is one."""
    path = PurePosixPath(file)
    part = split.named(path.name)
    return [file] if part is None else [str(path.with_name(name)) for name in part.all_names()]


def _listed(source: HubSource) -> list[str] | None:
    """The names of the files of a repository; None where only the cache can tell."""
    sizes = _sizes(source, ask=False)
    return None if sizes is None else [*sizes]


def _sizes(source: HubSource, *, ask: bool = True) -> dict[str, int | None] | None:
    """The files of a repository by name, with their bytes if they are asked for and the hub
    tells; None where only the cache can tell."""
    import httpx
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE:
        return None
    try:
        with _our_errors(source, httpx.TransportError):
            info = HfApi().repo_info(
                source.repo,
                revision=source.revision,
                repo_type=source.kind,
                files_metadata=ask,
            )
    except httpx.TransportError:
        return None
    siblings = getattr(info, "siblings", None) or ()  # huggingface_hub 1.33: kernels have none
    if outside := [one.rfilename for one in siblings if not is_inner(one.rfilename)]:
        raise SourceError(
            f"{source.label}: lists the file {quoted(outside[0])}, which is no place inside a "
            "folder; nothing was fetched. A mirror (HF_ENDPOINT) may be to blame"
        )
    return {one.rfilename: one.size for one in siblings}


def _cached(source: HubSource) -> list[str]:
    """The names of the files of a repository that are in the hub's cache."""
    snapshot = _cache(source) / "snapshots" / source.revision
    templates = (snapshot / model_files.TEMPLATES).glob("*")
    return [model_files.place(p) for p in (*snapshot.glob("*"), *templates) if p.is_file()]


def _cache(source: HubSource) -> Path:
    """The folder of a repository in the hub's cache."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE, f"{source.kind}s--{source.repo.replace('/', '--')}")


def _chosen(source: HubSource, names: list[str], *, cached: bool = False) -> list[str]:
    """The files of one model among ``names``. Raises SourceError if they are none."""
    chosen = model_files.selected_files(
        source.label,
        names,
        lambda name: read_file(_one(source, name, _told_nobody), SourceError, most=INDEX_BYTES),
        repo=source.repo,
        weights=source.weights,
    )
    if not chosen:
        where = "the hub's cache has of this repository" if cached else "in this repository"
        raise SourceError(
            f"{source.label}: nothing {where} is part of a checkpoint "
            f"(looked for {', '.join(model_files.PATTERNS)} and *.gguf); for one file of it write "
            f"hf:{source.repo}@{source.revision}/FILE"
        )
    return chosen


def _told_nobody(done: int, total: int, unit: str) -> None:
    return


def fetch_again(source: HubSource, file: Path) -> Path:
    """A file of a snapshot once more, its blob removed first. Raises SourceError."""
    name = model_files.place(file)
    if source.one_file is not None:
        name = str(PurePosixPath(source.one_file).with_name(file.name))
    digest_check.discard(file)
    return _one(source, name, _told_nobody)


def _bar(progress: FetchProgress) -> Any:
    """A tqdm class that draws nothing and reports bytes.

    For a snapshot huggingface_hub (1.33) makes several bars; the one that counts bytes written has
    the name huggingface_hub.snapshot_download.
    """
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **settings: Any) -> None:
            name = settings.pop("name", None)
            self._counts = settings.get("unit") == "B" and not str(name).endswith(".transfer")
            super().__init__(*args, **settings)

        def display(self, *args: Any, **settings: Any) -> None:
            return

        def update(self, n: float | None = 1) -> Any:
            shown = super().update(n)
            if self._counts:
                progress(int(self.n), int(self.total or 0), "bytes")
            return shown

    return Bar


@contextlib.contextmanager
def _our_errors(source: HubSource, *let: type[Exception]) -> Iterator[None]:
    """Turn what huggingface_hub raises, but for what to ``let`` pass, into a SourceError that says
    what to do."""
    import httpx
    from huggingface_hub import errors

    # The order counts: in huggingface_hub 1.33 a GatedRepoError is a RepositoryNotFoundError, a
    # LocalEntryNotFoundError an EntryNotFoundError, and all are OSErrors.
    endpoint = os.environ.get("HF_ENDPOINT", "the Hugging Face hub")
    try:
        yield
    except let:
        raise
    except errors.GatedRepoError:
        raise SourceError(
            f"{source.label}: this repository is gated; accept its terms on its page on the hub, "
            "then set HF_TOKEN to a token of that account"
        ) from None
    except errors.RevisionNotFoundError:
        raise SourceError(
            f"{source.label}: the repository has no revision {source.revision!r}; "
            "correct model.revision (a branch, a tag or a commit SHA)"
        ) from None
    except errors.RepositoryNotFoundError:
        raise SourceError(
            f"{source.label}: there is no such repository at {endpoint}, or it is private; "
            "check the spelling, or set HF_TOKEN to a token that may read it"
        ) from None
    except errors.LocalEntryNotFoundError:
        raise _unreachable(source, endpoint, "it is not in the local cache") from None
    except errors.EntryNotFoundError:
        raise SourceError(
            f"{source.label}: the repository has no file {source.file!r} at this revision"
        ) from None
    except (errors.OfflineModeIsEnabled, httpx.TransportError, ConnectionError) as error:
        raise _unreachable(source, endpoint, str(error).split("\n")[0]) from None
    except errors.HfHubHTTPError as error:
        raise SourceError(f"{source.label}: {endpoint} answered: {error}") from None
    except OSError as error:
        if is_full(error):
            raise OutOfSpaceError(
                f"{source.label}: the disk of the hub's cache is full; free some space, or point "
                "HF_HOME at another disk; the download goes on from where it stopped"
            ) from None
        raise SourceError(
            f"{source.label}: the hub's cache cannot be used ({error.filename}: {error.strerror}); "
            "put its permissions right, or point HF_HOME at a folder of yours"
        ) from None


def _unreachable(source: HubSource, endpoint: str, why: str) -> UnreachableError:
    return UnreachableError(
        f"{source.label}: {endpoint} cannot be reached ({why}); check the network, HF_ENDPOINT and "
        "HF_HUB_OFFLINE, or give a local folder as model.source"
    )
