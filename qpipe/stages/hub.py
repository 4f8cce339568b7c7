"""The Hugging Face hub, through huggingface_hub: the only module that talks to it.

HF_ENDPOINT, HF_TOKEN, HF_HOME and HF_HUB_OFFLINE mean what they mean to huggingface_hub.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from qpipe.errors import OutOfSpaceError, SourceError
from qpipe.stages import received
from qpipe.stages.sources import WANTED, HubSource

Progress: TypeAlias = Callable[[int, int, str], None]


def resolve_commit(source: HubSource) -> str:
    """The commit SHA that a branch, tag or short hash stands for now.

    Without a network, the one that the local cache last saw. Raises SourceError.
    """
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE:
        return _cached_commit(source)
    with _our_errors(source):
        info = HfApi().repo_info(source.repo, revision=source.revision, repo_type=source.kind)
    if info.sha is None:
        raise SourceError(f"{source.label}: the hub did not say which commit this is")
    return info.sha


def _cached_commit(source: HubSource) -> str:
    from huggingface_hub import constants

    folder = f"{source.kind}s--{source.repo.replace('/', '--')}"
    ref = Path(constants.HF_HUB_CACHE) / folder / "refs" / source.revision
    try:
        return ref.read_text().strip()
    except OSError:
        raise SourceError(
            f"{source.label}: HF_HUB_OFFLINE is set and the local cache does not know revision "
            f"{source.revision!r} ({ref} is not there); name a commit SHA as the revision, or run "
            "`qpipe lock` once with a network"
        ) from None


def fetch(source: HubSource, progress: Progress = lambda done, total, unit: None) -> list[Path]:
    """The files of a repository (or the one file asked for) in the hub's own cache.

    ``source.revision`` is a commit. Downloads resume where they stopped; ``progress`` takes
    (bytes done, bytes in all, "bytes"). Raises SourceError.
    """
    from huggingface_hub import hf_hub_download, snapshot_download

    with _our_errors(source):
        if source.file is not None:
            path = hf_hub_download(
                source.repo,
                source.file,
                revision=source.revision,
                repo_type=source.kind,
                tqdm_class=_bar(progress),
            )
            return [Path(path)]
        folder = snapshot_download(
            source.repo,
            revision=source.revision,
            repo_type=source.kind,
            allow_patterns=list(WANTED),
            ignore_patterns=["*/*"],
            tqdm_class=_bar(progress),
        )
    files = sorted(path for path in Path(folder).iterdir() if path.is_file())
    if not files:
        raise SourceError(
            f"{source.label}: nothing in this repository is part of a checkpoint "
            f"(looked for {', '.join(WANTED)}); for one file of it write "
            f"hf:{source.repo}@{source.revision}/FILE"
        )
    return files


def fetch_again(source: HubSource, file: Path) -> Path:
    """A file of a snapshot once more, its blob removed first. Raises SourceError."""
    from huggingface_hub import hf_hub_download

    name = source.file or file.name
    received.discard(file)
    with _our_errors(source):
        return Path(
            hf_hub_download(source.repo, name, revision=source.revision, repo_type=source.kind)
        )


def _bar(progress: Progress) -> Any:
    """A tqdm class that draws nothing and reports bytes.

    For a snapshot the hub's library makes several bars; the one that counts bytes written has
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
def _our_errors(source: HubSource) -> Iterator[None]:
    """Turn what huggingface_hub raises into a SourceError that says what to do."""
    import httpx
    from huggingface_hub import errors

    endpoint = os.environ.get("HF_ENDPOINT", "the Hugging Face hub")
    try:
        yield
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
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutOfSpaceError(
                f"{source.label}: the disk of the hub's cache is full; free some space, or point "
                "HF_HOME at another disk; the download goes on from where it stopped"
            ) from None
        raise


def _unreachable(source: HubSource, endpoint: str, why: str) -> SourceError:
    return SourceError(
        f"{source.label}: {endpoint} cannot be reached ({why}); check the network, HF_ENDPOINT and "
        "HF_HUB_OFFLINE, or give a local folder as model.source"
    )
