"""Files of a hub repository brought into the hub's own cache, several at a time, each hashed as it
comes.

huggingface_hub (1.33) compares no digests, and begins a file anew after it gave up or was killed.
Here a file goes on at its byte, and takes its place in the cache once its digest is the one that
the hub names. The cache is laid out, and locked, as the client does it: ``blobs/ETAG``, to which
the client itself links the snapshot's file. What comes by Xet, hf_xet writes.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from qpipe.errors import SourceError
from qpipe.sources import digest_check
from qpipe.sources.arrival import Arrival, Arriving
from qpipe.sources.body import pieces
from qpipe.sources.hub_errors import endpoint, hub_errors, patience, patiently
from qpipe.sources.hub_source import HubSource
from qpipe.support.hashing import Sealed

if TYPE_CHECKING:
    import httpx

# Files at a time: as many as huggingface_hub fetches (1.33).
_AT_ONCE = 8

# Tries in a row in which not a byte comes.
_TRIES = 5

# What an ETag has to be to name a file of the cache.
_NAME = re.compile(r"[\w+=-][\w.+=-]{0,200}")


@dataclass(frozen=True)
class ListedFile:
    """A file of a repository by the hub's listing: bytes, and SHA-256 in LFS, else git's SHA-1
    (hex); None where the hub does not tell."""

    name: str
    size: int | None = None
    digest: str | None = None


@dataclass(frozen=True)
class HubFile:
    """A file of a snapshot in the hub's cache; ``digest`` is what the hub's listing names (hex),
    ``sealed`` its SHA-256 if it was hashed as it came, and was right."""

    path: Path
    digest: str | None = None
    sealed: Sealed | None = None


@dataclass(frozen=True)
class _Told:
    """The hub's answer on a file when it is asked for: the name of its blob, bytes, where it is
    now, and whether Xet brings it."""

    etag: str
    size: int | None
    location: str
    xet: bool


def cache_folder(source: HubSource) -> Path:
    """The folder of a repository in the hub's cache."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE, f"{source.kind}s--{source.repo.replace('/', '--')}")


def snapshot_folder(source: HubSource) -> Path:
    """The folder of a commit in the hub's cache."""
    return cache_folder(source) / "snapshots" / source.revision


def bring_all(source: HubSource, files: Sequence[ListedFile], arriving: Arriving) -> list[HubFile]:
    """Files of a commit, in their order. Raises SourceError; what came is then kept."""
    from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

    arriving.expect(sum(file.size or 0 for file in files))
    if len(files) == 1:
        return [bring(source, files[0], arriving)]
    largest = sorted(files, key=lambda file: -(file.size or 0))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        futures = {file: pool.submit(bring, source, file, arriving) for file in largest}
        try:
            for future in wait(futures.values(), return_when=FIRST_EXCEPTION).done:
                future.result()
        except BaseException:
            arriving.stop()
            pool.shutdown(cancel_futures=True)
            raise
    return [futures[file].result() for file in files]


def bring(source: HubSource, file: ListedFile, arriving: Arriving) -> HubFile:
    """One file of a commit in the hub's cache, brought if it is not there. Raises SourceError."""
    from huggingface_hub import constants

    with hub_errors(source, file=file.name):
        there = (snapshot_folder(source) / file.name).is_file()
        told = None if there or constants.HF_HUB_OFFLINE else _told(source, file)
        if told is None or told.xet:
            return HubFile(_by_client(source, file, arriving), file.digest)
        if file.size is None:
            arriving.expect(told.size or 0)
        blob = cache_folder(source) / "blobs" / told.etag
        with _locked(source, told.etag):
            sealed = None if blob.exists() else _brought(source, file, told, blob, arriving)
        if sealed is None:
            arriving.add(blob.stat().st_size)
        return HubFile(_by_client(source, file, None), _digest(file, told), sealed)


def _digest(file: ListedFile, told: _Told) -> str | None:
    """The digest that the hub names: in its listing, else in the ETag."""
    return file.digest or (told.etag if digest_check.is_digest(told.etag) else None)


def _told(source: HubSource, file: ListedFile) -> _Told:
    """Ask for a file's head."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url

    address = hf_hub_url(source.repo, file.name, repo_type=source.kind, revision=source.revision)
    timeout = constants.HF_HUB_ETAG_TIMEOUT
    head = patiently(lambda: get_hf_file_metadata(address, timeout=timeout))
    if head.commit_hash is None or head.etag is None or not _NAME.fullmatch(head.etag):
        raise SourceError(
            f"{source.label}: {file.name}: {endpoint()} does not answer as a hub does (without "
            "X-Repo-Commit, or an ETag that names the file); correct HF_ENDPOINT, or look what a "
            "proxy makes of it"
        )
    xet = head.xet_file_data is not None and not constants.HF_HUB_DISABLE_XET
    by_xet = xet and importlib.util.find_spec("hf_xet") is not None
    size = head.size if file.size is None else file.size
    return _Told(head.etag, size, head.location, by_xet)


def _by_client(source: HubSource, file: ListedFile, arriving: Arriving | None) -> Path:
    """Have the client link what is in its cache, or bring it."""
    from huggingface_hub import hf_hub_download

    before = 0 if arriving is None else arriving.done
    path = patiently(
        lambda: hf_hub_download(
            source.repo,
            file.name,
            repo_type=source.kind,
            revision=source.revision,
            tqdm_class=None if arriving is None else _bar(arriving),
        )
    )
    if arriving is not None and arriving.done == before:
        arriving.add(Path(path).stat().st_size)
    return Path(path)


@contextlib.contextmanager
def _locked(source: HubSource, etag: str) -> Iterator[None]:
    """Hold the lock under which the client writes a blob."""
    from huggingface_hub import constants
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

    lock = Path(constants.HF_HUB_CACHE, ".locks", cache_folder(source).name, f"{etag}.lock")
    for folder in (lock.parent, cache_folder(source) / "blobs"):
        folder.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        yield


def _brought(
    source: HubSource, file: ListedFile, told: _Told, blob: Path, arriving: Arriving
) -> Sealed:
    """A blob whose bytes have the digest that the hub names; damaged ones are fetched once more,
    from the beginning."""
    partial, digest = blob.with_name(f"{blob.name}.incomplete"), _digest(file, told)
    problem: str | None = None
    for _ in range(2):
        with Arrival(partial, told.size, digest, arriving) as one:
            _stream(source, file, told, one)
            sealed, problem = one.sealed()
        if problem is None:
            partial.replace(blob)
            return sealed
        one.discard()
        told = _told(source, file)
    raise damaged(source, file.name, str(problem))


def damaged(source: HubSource, name: str, problem: str) -> SourceError:
    """The error of a file that came with wrong bytes twice."""
    return SourceError(
        f"{source.label}: {name} came damaged, twice: {problem}; it was removed from the hub's "
        "cache. Try again later, or by another way (HF_ENDPOINT, a mirror or a proxy may be to "
        "blame)"
    )


def beginning(source: HubSource, name: str, count: int) -> tuple[bytes, int]:
    """The first ``count`` bytes of a file of a commit, or all that it has, and its length. Nothing
    is kept in the cache. Raises SourceError."""
    from huggingface_hub import constants
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        hf_raise_for_status,
        http_stream_backoff,
    )

    with hub_errors(source, file=name):
        told = _told(source, ListedFile(name))
        headers = {**_headers(told), "Range": f"bytes=0-{count - 1}"}
        data = bytearray()
        with http_stream_backoff(
            "GET", told.location, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT
        ) as response:
            hf_raise_for_status(response)
            for piece in pieces(response):
                data += piece
                if len(data) >= count:
                    break
        _, _, size = response.headers.get("Content-Range", "").rpartition("/")
        length = int(size) if size.isdecimal() else told.size
        if length is None or len(data) < min(count, length):
            raise SourceError(
                f"{source.label}: {name}: of its first {count:,} bytes {len(data):,} came; try "
                "again later, or download the file and give its path"
            )
        return bytes(data[:count]), length


def _stream(source: HubSource, file: ListedFile, told: _Told, arrival: Arrival) -> None:
    """Bring what is missing of a file; goes on where a connection breaks off, and asks anew where
    the file is when its signed address is no longer good."""
    import httpx
    from huggingface_hub.errors import HfHubHTTPError

    tries = _TRIES
    while arrival.lacking:
        begin = arrival.size
        try:
            _request(told, arrival)
            return
        except httpx.TransportError:
            tries = _TRIES if arrival.size > begin else tries - 1
            if tries == 0:
                raise
            time.sleep(0 if arrival.size - begin > 1 << 20 else 1)
        except HfHubHTTPError as error:
            status = error.response.status_code
            tries -= 1
            if status == 416 and begin and tries:
                arrival.restart()
            elif status == 403 and _elsewhere(told) and tries > 1:
                tries = 1  # its signature was good for a while
            elif tries:
                time.sleep(patience(error, 2.0 ** (_TRIES - tries - 1)))
            else:
                raise
        told = _told(source, file)


def _request(told: _Told, arrival: Arrival) -> None:
    from huggingface_hub import constants
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        hf_raise_for_status,
        http_stream_backoff,
    )

    headers = _headers(told)
    if arrival.size:
        headers["Range"] = f"bytes={arrival.size}-"
    with http_stream_backoff(
        "GET",
        told.location,
        headers=headers,
        timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
        retry_on_exceptions=(),
        retry_on_status_codes=(),
    ) as response:
        hf_raise_for_status(response)
        if arrival.size and not _goes_on(response, arrival):
            arrival.restart()
        for piece in pieces(response):
            arrival.write(piece)
            if arrival.overfull:
                return


def _headers(told: _Told) -> dict[str, str]:
    """The headers of a request for a file's bytes."""
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    if _elsewhere(told):
        headers.pop("authorization", None)
    return headers


def _goes_on(response: httpx.Response, arrival: Arrival) -> bool:
    """True if an answer brings the bytes that are missing, False if all of them.

    For others the file begins anew: httpx.RemoteProtocolError.
    """
    import httpx

    if response.status_code != 206:
        return False
    place, begin = response.headers.get("Content-Range", ""), arrival.size
    if not place.startswith(f"bytes {begin}-"):
        arrival.restart()
        raise httpx.RemoteProtocolError(f"asked for the bytes from {begin}, {place!r} came")
    return True


def _elsewhere(told: _Told) -> bool:
    """True if a file is at a host that is none of the hub's: no token goes there."""
    from huggingface_hub import constants

    host = urlsplit(told.location).hostname
    return host not in (urlsplit(constants.ENDPOINT).hostname, "huggingface.co", "hf.co")


def _bar(arriving: Arriving) -> Any:
    """A tqdm class that draws nothing and counts bytes (huggingface_hub 1.33: of several bars, not
    the one whose name ends in .transfer)."""
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **settings: Any) -> None:
            self._counts = not str(settings.pop("name", None)).endswith(".transfer")
            super().__init__(*args, **settings)

        def display(self, *args: Any, **settings: Any) -> None:
            return

        def update(self, n: float | None = 1) -> Any:
            if self._counts:
                arriving.add(int(n or 0))
            return super().update(n)

    return Bar
