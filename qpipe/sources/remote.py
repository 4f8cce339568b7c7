"""Models and texts at addresses: ``https://``, ``s3://``, ``gs://``, and ``file://`` for here.

What an address holds may be other bytes tomorrow. So each file is pinned by its SHA-256: as
``model.sha256`` gives it, as the lock file has it, or as it was at the first use. The address
itself is part of no key; what may be a secret in it (its query, as a signature) is kept nowhere.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from threading import Lock
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from qpipe.core import env_values
from qpipe.core.key import Json
from qpipe.errors import SourceError, UnreachableError
from qpipe.gguf import split
from qpipe.sources import bucket_file, no_model
from qpipe.sources.http_file import HttpFile
from qpipe.sources.sha256 import digest_named
from qpipe.sources.transfer import CutError, FileElsewhere, ReceivedFile, fetch
from qpipe.support.addresses import HIDDEN, without_secrets

FetchProgress = Callable[[int, int, str], None]

_AT_ONCE = 4
_NAME_BYTES = 200
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
# Names in a query that are signatures and their like: they differ each time, and the file does not.
_SIGNATURES = re.compile(
    r"(?i)x-amz-.*|x-goog-.*|awsaccesskeyid|googleaccessid|signature|expires|policy|key-pair-id|"
    r"token|access_token|download"
)
# Azure's are short words, which elsewhere may say which file is meant.
_AZURES = re.compile(r"(?i)sig|s[a-z]{1,2}|sip|skoid|sktid|ske|sks|skt|skv")


@dataclass(frozen=True)
class RemoteSource:
    """An address as recipes have it. ``shown`` is what messages and records have of it, ``label``
    its name in lock files, ``name`` that of what is there."""

    url: str
    shown: str
    label: str
    name: str
    is_plain: bool = False
    """Whether bytes can be changed on the way."""

    @property
    def scheme(self) -> str:
        """The word before ``://``."""
        return self.url.partition(":")[0]

    def pins(self, digests: Mapping[str, str]) -> dict[str, str]:
        """The lines of a lock file that pin its files."""
        return {
            self.label if name == self.name else f"{self.label}#{name}": f"sha256:{digest}"
            for name, digest in digests.items()
        }

    def pinned(self, lines: Mapping[str, str]) -> dict[str, str]:
        """The digests of its files by the ``lines`` of a lock file; none if it has none."""
        start = f"{self.label}#"
        digests = {
            self.name if line == self.label else line.removeprefix(start): pin
            for line, pin in lines.items()
            if line == self.label or line.startswith(start)
        }
        return {name: pin.removeprefix("sha256:") for name, pin in digests.items()}

    def names(self) -> list[str]:
        """The names of its files: in a bucket, somebody has to be asked. Raises SourceError."""
        if self.scheme in bucket_file.PROTOCOLS:
            system = bucket_file.filesystem(self.scheme)
            try:
                return bucket_file.listed(system, self._path, self.shown)
            except CutError as cut:
                raise UnreachableError(
                    f"{self.shown}: {cut}; check the network, and the endpoint (s3: "
                    "AWS_ENDPOINT_URL)"
                ) from None
        part = split.named(self.name)
        return [self.name] if part is None else part.all_names()

    def versions(self, names: Iterable[str]) -> dict[str, str | None]:
        """The version of each file as it is there now, None where nothing tells one from another.

        Raises SourceError.
        """
        found: dict[str, str | None] = {}
        for name in names:
            try:
                with self._file(name).open(0, None) as body:
                    found[name] = body.version
            except CutError as cut:
                raise UnreachableError(f"{self.shown}: {cut}; check the network") from None
        return found

    def fetched(
        self,
        folder: Path,
        digests: Mapping[str, str | None],
        progress: FetchProgress = lambda done, total, unit: None,
    ) -> dict[str, ReceivedFile]:
        """Bring files into ``folder``, several at a time; each must have its digest, if one is
        given. Raises SourceError."""
        counter = _Counter(progress)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            futures = {
                name: pool.submit(self._fetch, name, folder, sha256, counter)
                for name, sha256 in digests.items()
            }
            return {name: future.result() for name, future in futures.items()}

    def _fetch(
        self, name: str, folder: Path, sha256: str | None, counter: _Counter
    ) -> ReceivedFile:
        target = (folder / name).parent
        target.mkdir(parents=True, exist_ok=True)
        return fetch(
            self._file(name), target, sha256, lambda done, total: counter.add(name, done, total)
        )

    def _file(self, name: str) -> FileElsewhere:
        if self.scheme in bucket_file.PROTOCOLS:
            system = bucket_file.filesystem(self.scheme)
            last = PurePosixPath(self._path).name
            path = self._path if name == last else f"{self._path}/{name}"
            if name != last and split.named(last) is not None:
                path = str(PurePosixPath(self._path).with_name(name))
            return bucket_file.BucketFile(system, path, f"{self.scheme}://{path}")
        if name == self.name:
            return HttpFile(self.url, name, self.shown)
        url = self.url[: -len(self.url.rpartition("/")[2])] + name
        return HttpFile(url, name, url)

    @property
    def in_parts(self) -> bool:
        """True if its name is that of one part of a model."""
        return split.named(self.name) is not None

    @property
    def _path(self) -> str:
        return self.url.partition("://")[2].rstrip("/")

    def hidden(self) -> Json:
        """The address for records of this run: its query is left to the environment of this process
        and of those that it starts."""
        query = urlsplit(self.url).query
        if not query:
            return self.url
        name = f"QPIPE_QUERY_{hashlib.sha256(query.encode()).hexdigest()[:8].upper()}"
        os.environ[name] = query
        return env_values.hide(self.url, {name: query})


class _Counter:
    """Sums the progress of several files."""

    def __init__(self, progress: FetchProgress) -> None:
        self._progress, self._lock = progress, Lock()
        self._files: dict[str, tuple[int, int]] = {}

    def add(self, name: str, done: int, total: int | None) -> None:
        with self._lock:
            self._files[name] = (done, total or 0)
            done, whole = map(sum, zip(*self._files.values(), strict=True))
            self._progress(done, max(whole, done), "bytes")


def parse(source: str) -> tuple[RemoteSource, str | None]:
    """The address ``source``, and the SHA-256 behind its ``#sha256=`` if there is one.

    Raises SourceError for what cannot be one.
    """
    shown = without_secrets(source)
    try:
        parts = urlsplit(source)
        host, login = parts.hostname, parts.username or parts.password
        (host or "").encode("idna")  # as sockets do: empty and overlong labels
    except ValueError as error:
        raise SourceError(f"{shown}: is no address ({error})") from None
    _require_port(shown, parts)
    if login:
        raise SourceError(
            f"{shown}: an address with a login in it is not taken, since addresses are kept and "
            "shown; put the login into ~/.netrc (machine, login, password), and give the address "
            "without it"
        )
    if parts.scheme not in ("https", "http", *bucket_file.PROTOCOLS):
        raise SourceError(
            f"{shown}: {parts.scheme}:// is not one of https://, file://, s3:// and gs://; fetch "
            "the file first, and give its path"
        )
    if not host or not parts.netloc:
        raise SourceError(
            f"{shown}: names no {'bucket' if parts.scheme in ('s3', 'gs') else 'host'}"
        )
    digest = _digest_behind(shown, parts.fragment)
    url = urlunsplit(parts._replace(fragment=""))
    if parts.scheme in bucket_file.PROTOCOLS:
        return _of_bucket(url, parts.path, parts.query, digest)
    name = _checked_name(shown, PurePosixPath(parts.path).name)
    if parts.query == HIDDEN:
        raise SourceError(f"{shown}: its query was left out of the record; give the address whole")
    if parts.query and split.named(name) is not None:
        raise SourceError(
            f"{shown}: the parts of a model have addresses of their own, and each its own query; "
            "fetch them into a folder, and give the path of the first"
        )
    shown = without_secrets(url)
    plain = parts.scheme == "http" and host not in _LOOPBACK
    return RemoteSource(url, shown, _label(url), name, plain), digest


def _require_port(shown: str, parts: SplitResult) -> None:
    """Raise SourceError if what stands behind the host's colon is no port; it may be the beginning
    of a password, so it is not shown."""
    try:
        _ = parts.port
    except ValueError:
        raise SourceError(
            f"{shown}: is no address: behind its host's colon stands no port (0 to 65535). A login "
            "goes into ~/.netrc, not into the address"
        ) from None


def _of_bucket(
    url: str, path: str, query: str, digest: str | None
) -> tuple[RemoteSource, str | None]:
    parts = path.strip("/").split("/") if path.strip("/") else []
    if query or any(part in ("", ".", "..") for part in parts):
        raise SourceError(
            f"{without_secrets(url)}: is no path in a bucket: it has a query, or an empty part, "
            "`.` or `..`"
        )
    url = url.rstrip("/")
    name = parts[-1] if parts else urlsplit(url).netloc
    return RemoteSource(url, url, url, name), digest


def _digest_behind(shown: str, fragment: str) -> str | None:
    if not fragment:
        return None
    try:
        if not fragment.startswith("sha256="):
            raise ValueError(f"{fragment!r} is not sha256=DIGEST")
        return digest_named(fragment.removeprefix("sha256="))
    except ValueError as error:
        raise SourceError(f"{shown}: behind #: {error}") from None


def _checked_name(shown: str, quoted: str) -> str:
    """The file's name at the end of an address. Raises SourceError for what is no file of a use."""
    name = unquote(quoted)
    odd = name in ("", ".", "..") or "/" in name or "\\" in name or not name.isprintable()
    if odd or len(name.encode(errors="replace")) > _NAME_BYTES:
        raise SourceError(
            f"{shown}: does not end in the name of a file; give the address of the file itself"
        )
    if no_model.is_archive(name):
        raise SourceError(
            f"{shown}: is an archive; unpack it, and give the folder or the file inside"
        )
    if (why := no_model.KINDS.get(PurePosixPath(name.lower()).suffix)) is not None:
        raise SourceError(f"{shown}: is {why}")
    return name


def _label(url: str) -> str:
    """The name of an address in lock files: of its query only a digest of what is no signature, so
    that two files of one server are told apart."""
    parts = urlsplit(url)
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    if any(name == "sig" for name, _ in pairs):
        pairs = [(name, value) for name, value in pairs if not _AZURES.fullmatch(name)]
    kept = [(name, value) for name, value in pairs if not _SIGNATURES.fullmatch(name)]
    label = urlunsplit(parts._replace(query=""))
    if not kept:
        return label
    return f"{label}?{hashlib.sha256(urlencode(kept).encode()).hexdigest()[:12]}"


def local_path(source: str) -> tuple[str, str | None]:
    """The path that a ``file://`` address stands for, and the SHA-256 behind it.

    Raises SourceError for one of another machine.
    """
    parts = urlsplit(source)
    if parts.netloc not in ("", "localhost") or parts.query or not parts.path.startswith("/"):
        raise SourceError(
            f"{source}: is no file of this machine; file:// takes a whole path: file:///DIR/FILE"
        )
    return unquote(parts.path), _digest_behind(source, parts.fragment)


def paired(shown: str, names: Sequence[str], sha256: Sequence[str]) -> dict[str, str]:
    """The digests of files by their names, given in the files' order. Raises SourceError."""
    if len(names) != len(sha256):
        raise SourceError(
            f"{shown}: model.sha256 has {len(sha256)} digests, and these are {len(names)} files "
            f"({', '.join(names[:3])}{', …' if names[3:] else ''}): give one for each, in order"
        )
    return dict(zip(names, sha256, strict=True))
