"""A repository on the hub: what it holds beside a folder, and the folder's files sent to it.

``HF_ENDPOINT`` and the token (``HF_TOKEN``, or that of `hf auth login`) are huggingface_hub's own;
no token is in any message. A file that arrived is not sent again: large ones wait on the hub, named
by their SHA-256, until a commit takes them.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qpipe.errors import PublishError
from qpipe.support.addresses import without_secrets
from qpipe.support.files import open_file

_BRANCH = "main"
_AGAIN = "run the same command again: what arrived is not sent again"


@dataclass(frozen=True)
class RemoteFile:
    """A file in a repository: the SHA-256 of a large one, git's own SHA-1 of any other."""

    size: int
    sha256: str | None
    blob: str | None


@dataclass(frozen=True)
class UploadPlan:
    """A folder beside a repository: names that are ``new`` there, ``same``, or hold something else
    and would be ``replaced``; ``others`` are there alone, and stay."""

    new: tuple[str, ...]
    same: tuple[str, ...]
    replaced: tuple[str, ...]
    others: tuple[str, ...]


@dataclass(frozen=True)
class UploadedCommit:
    """A commit of an upload, and the ``url`` of the repository."""

    url: str
    oid: str
    plan: UploadPlan


@dataclass(frozen=True)
class HubRepository:
    """The repository OWNER/NAME."""

    name: str

    def login(self) -> str:
        """The name of the account whose token is used. Raises PublishError without one."""
        from huggingface_hub import get_token

        if get_token() is None:
            raise PublishError(
                f"{self.name}: an upload needs a token that may write: make one on the hub "
                "(Settings, Access Tokens), then `hf auth login`, or set HF_TOKEN"
            )
        with self._explained():
            return str(self._api().whoami()["name"])

    def files(self, revision: str = _BRANCH) -> dict[str, RemoteFile]:
        """The files of a revision by name; none of a repository that is not there."""
        from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
        from huggingface_hub.hf_api import RepoFile

        try:
            with self._explained(RepositoryNotFoundError, RevisionNotFoundError):
                entries = [
                    *self._api().list_repo_tree(self.name, recursive=True, revision=revision)
                ]
        except (RepositoryNotFoundError, RevisionNotFoundError):
            return {}
        return {
            entry.path: RemoteFile(
                entry.size, entry.lfs.sha256 if entry.lfs else None, entry.blob_id
            )
            for entry in entries
            if isinstance(entry, RepoFile)
        }

    def compare(self, folder: Path, sums: Mapping[str, str]) -> UploadPlan:
        """Look at what an upload of ``folder`` would come to; ``sums`` are the SHA-256 of its files
        by name."""
        remote = self.files()
        there = {name for name in sums if name in remote}
        same = {name for name in there if _is_same(folder / name, sums[name], remote[name])}
        return UploadPlan(
            tuple(sorted(sums.keys() - there)),
            tuple(sorted(same)),
            tuple(sorted(there - same)),
            tuple(sorted(remote.keys() - sums.keys())),
        )

    def upload(
        self, folder: Path, sums: Mapping[str, str], *, private: bool, message: str
    ) -> UploadedCommit:
        """Send the files of ``folder``, in one commit, and compare what is there then.

        The repository is made if it is not there. No file is removed from it. Raises PublishError.
        """
        with self._explained():
            api = self._api()
            if private and self._is_public():
                raise PublishError(
                    f"{self.name}: is there already, and public: make it private in its settings "
                    "on the hub, or leave --private out"
                )
            url = str(api.create_repo(self.name, private=private, exist_ok=True))
            plan = self.compare(folder, sums)
            if plan.new or plan.replaced:
                info = api.upload_folder(
                    repo_id=self.name,
                    folder_path=folder,
                    commit_message=message,
                    allow_patterns=[*map(_literal, sums)],
                )
                oid = str(info.oid)
            else:
                oid = str(api.repo_info(self.name).sha)
        self._confirm(folder, sums, oid)
        return UploadedCommit(url, oid, plan)

    def _is_public(self) -> bool:
        """True of a repository that is there for everybody to see."""
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            return not self._api().repo_info(self.name).private
        except RepositoryNotFoundError:
            return False

    def _confirm(self, folder: Path, sums: Mapping[str, str], oid: str) -> None:
        """Raise PublishError where the hub names other digests than the folder has."""
        remote = self.files(oid)
        wrong = [
            name
            for name, sha256 in sums.items()
            if name not in remote or not _is_same(folder / name, sha256, remote[name])
        ]
        if wrong:
            raise PublishError(
                f"{self.name}: the hub has other bytes of {', '.join(wrong[:3])} at {oid[:12]} "
                f"than {folder}; {_AGAIN}"
            )

    def _api(self) -> Any:
        from huggingface_hub import HfApi
        from huggingface_hub.utils.tqdm import disable_progress_bars

        if not sys.stderr.isatty():
            disable_progress_bars()
        return HfApi(library_name="qpipe")

    @contextlib.contextmanager
    def _explained(self, *let: type[Exception]) -> Iterator[None]:
        """Turn what huggingface_hub raises, but for what to ``let`` pass, into a PublishError.

        Its own messages name URLs, which may be signed: none of them is passed on whole.
        """
        import httpx

        passed: tuple[type[Exception], ...] = (*let, PublishError)
        try:
            yield
        except passed:
            raise
        except (ValueError, RuntimeError, OSError, httpx.HTTPError, httpx.InvalidURL) as error:
            raise PublishError(f"{self.name}: {_reason(error)}") from None


def _reason(error: BaseException) -> str:
    """Explain a failure of huggingface_hub's, and say what to do."""
    import httpx
    from huggingface_hub import constants, errors

    if isinstance(error, errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set: unset it to upload"
    if isinstance(error, errors.LocalTokenNotFoundError):
        return "there is no token: `hf auth login`, or set HF_TOKEN"
    if isinstance(error, errors.HfHubHTTPError):
        return _words(error.response.status_code, error.server_message or "")
    at = without_secrets(constants.ENDPOINT)
    if isinstance(error, (httpx.InvalidURL, httpx.UnsupportedProtocol)):
        return f"{at} is no address of a hub; correct HF_ENDPOINT (https://HOST)"
    if isinstance(error, UnicodeEncodeError):  # into a header
        return "the token has a character that no token has; correct HF_TOKEN, or `hf auth login`"
    if isinstance(error, (httpx.TransportError, ConnectionError)):
        how = "cannot be reached" if isinstance(error, httpx.ConnectError) else "cut the connection"
        return f"{at} {how} ({type(error).__name__}); {_AGAIN}"
    said = _unsigned(str(error))
    if error.__cause__ is not None:
        return f"{said.rstrip('.')}: {_reason(error.__cause__)}"
    return f"{said}; {_AGAIN}"


def _words(status: int, message: str) -> str:
    """Explain an answer of the hub, and say what to do."""
    said = _unsigned(message).strip()
    quoted = f" ({said})" if said else ""
    if status == 401:
        return (
            f"the hub does not take the token{quoted}: look whether it is whole and not revoked, "
            "then `hf auth login` again, or set HF_TOKEN"
        )
    if status == 403:
        return (
            f"the token may not write there{quoted}: it needs the role write, and your account a "
            "place in the organization"
        )
    if status == 404:
        return f"there is no such repository, or the token may not see it{quoted}"
    if status == 429:
        return f"the hub asks to wait (429 Too Many Requests){quoted}; in a while, {_AGAIN}"
    if status >= 500:
        return f"the hub failed ({status}){quoted}; in a while, {_AGAIN}"
    return f"the hub refused it ({status}){quoted}"


def _unsigned(words: str) -> str:
    """Words without the addresses in them: such of object stores are signed."""
    line = words.split("\n", 1)[0]
    return re.sub(r"https?://\S+", "…", line)[:500]


def _literal(name: str) -> str:
    """A pattern of fnmatch's that fits one name alone."""
    return re.sub(r"[*?[]", r"[\g<0>]", name)


def _is_same(path: Path, sha256: str, remote: RemoteFile) -> bool:
    """Return whether a file here has the bytes of one there."""
    if remote.sha256 is not None:
        return remote.sha256 == sha256
    size = path.stat().st_size
    if size != remote.size:
        return False
    blob = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with open_file(path, PublishError) as file:
        while block := file.read(1 << 20):
            blob.update(block)
    return blob.hexdigest() == remote.blob
