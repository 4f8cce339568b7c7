"""Files of buckets, ``s3://`` and ``gs://``, through fsspec: s3fs and gcsfs.

Where they are and who may read them is what their own libraries find: AWS_PROFILE, AWS_ENDPOINT_URL
and ``aws configure``; GOOGLE_APPLICATION_CREDENTIALS and ``gcloud auth``. fsspec reads settings of
its own from the environment too: ``FSSPEC_S3='{"anon": true}'`` for a public bucket.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from qpipe.errors import EngineMissingError, SourceError
from qpipe.sources import model_files
from qpipe.sources.transfer import Body, CutError

PROTOCOLS: Mapping[str, str] = {"s3": "s3fs", "gs": "gcsfs"}
"""The package for each scheme; the extra of qpipe that brings it is called as the scheme."""

_CHUNK = 8 << 20
# What a file's listing has by which one state of it is told from another, the surest first.
_VERSIONS = ("ETag", "etag", "generation", "LastModified", "mtime", "created")
# Errors of these libraries that are no OSErrors, each in words of what to look at.
_THEIRS = (
    ("botocore.exceptions", "BotoCoreError"),
    ("aiohttp", "ClientError"),
    ("google.auth.exceptions", "GoogleAuthError"),
    ("gcsfs.retry", "HttpError"),
)


def filesystem(protocol: str) -> Any:
    """The file system of a scheme. Raises EngineMissingError."""
    import fsspec

    try:
        return fsspec.filesystem(protocol)
    except ImportError as error:
        package = PROTOCOLS.get(protocol, protocol)
        raise EngineMissingError(
            f"{protocol}:// needs {package}, which is not here ({error}): "
            f"pip install 'qpipe[{protocol}]' -c constraints.txt"
        ) from None


@dataclass(frozen=True)
class BucketFile:
    """The file at ``path``, without its scheme, of a file system of fsspec."""

    system: Any
    path: str
    shown: str

    @property
    def name(self) -> str:
        """The last part of its path."""
        return PurePosixPath(self.path).name

    @contextlib.contextmanager
    def open(self, start: int, version: str | None) -> Iterator[Body]:
        """The bytes from ``start`` on if the file is still of that version, else all of them.

        Raises CutError, and SourceError where no other attempt helps.
        """
        with _our_errors(self.shown):
            self.system.invalidate_cache()
            info = self.system.info(self.path)
            if info["type"] != "file":
                raise SourceError(
                    f"{self.shown}: is a folder, and model.sha256 is of one file; leave it out: "
                    "the SHA-256 of each file of the folder is locked at the first use"
                )
            now = next((str(info[name]) for name in _VERSIONS if info.get(name)), None)
            if start and (now != version or start > int(info["size"])):
                start = 0
            # Read one after the other: nothing is kept of what was read.
            file = self.system.open(self.path, "rb", block_size=_CHUNK, cache_type="readahead")
            file.seek(start)
        with contextlib.closing(file):
            yield Body(start, int(info["size"]), now, self._chunks(file))

    def _chunks(self, file: BinaryIO) -> Iterator[bytes]:
        while True:
            with _our_errors(self.shown):
                chunk = file.read(_CHUNK)
            if not chunk:
                return
            yield chunk


def listed(system: Any, path: str, shown: str) -> list[str]:
    """The names of the files of the model at ``path``: those of a checkpoint's folder, or a file
    with the other parts of its model. Raises SourceError."""
    with _our_errors(shown):
        if path and system.isfile(path):
            folder, _, name = path.rpartition("/")
            if not name.endswith(".gguf"):
                return [name]
            return model_files.all_parts(shown, name, _names(system, folder))
        names = _names(system, path)
        folders = [name for name, kind in _entries(system, path) if kind == "directory"]
        templates = model_files.TEMPLATES
        if templates in folders:
            names += [f"{templates}/{name}" for name in _names(system, f"{path}/{templates}")]
        chosen = model_files.selected_files(
            shown, names, lambda name: bytes(system.cat_file(f"{path}/{name}")), beside=folders
        )
    if not chosen:
        raise SourceError(
            f"{shown}: nothing in this folder is part of a checkpoint (looked for "
            f"{', '.join(model_files.PATTERNS)} and *.gguf)"
        )
    return chosen


def _names(system: Any, folder: str) -> list[str]:
    return [name for name, kind in _entries(system, folder) if kind == "file"]


def _entries(system: Any, folder: str) -> list[tuple[str, str]]:
    listing = system.ls(folder, detail=True, refresh=True)
    return [(PurePosixPath(entry["name"]).name, entry["type"]) for entry in listing]


@contextlib.contextmanager
def _our_errors(shown: str) -> Iterator[None]:
    """Turn what fsspec's file systems raise into errors that say what to do."""
    try:
        yield
    except FileNotFoundError:
        raise SourceError(
            f"{shown}: there is no such file or folder, or no such bucket; check the spelling"
        ) from None
    except PermissionError as error:
        raise SourceError(
            f"{shown}: it may not be read ({error}); check the credentials that its library finds "
            "(s3: AWS_PROFILE, `aws configure`; gs: `gcloud auth application-default login`)"
        ) from None
    except OSError as error:
        if error.errno == errno.EINVAL:  # s3fs 2026.9.0: of a bad request, such as a bucket's name
            raise SourceError(f"{shown}: {error.strerror}") from None
        raise CutError(error.strerror or str(error) or type(error).__name__) from None
    except _foreign() as error:
        why = " ".join(str(error).split())
        if "redentials" in why:
            raise SourceError(
                f"{shown}: {why}; s3: AWS_PROFILE or `aws configure`, gs: `gcloud auth "
                "application-default login`; for a public bucket "
                'FSSPEC_S3=\'{"anon": true}\' or FSSPEC_GS=\'{"token": "anon"}\''
            ) from None
        raise CutError(why or type(error).__name__) from None


def _foreign() -> tuple[type[Exception], ...]:
    found: list[type[Exception]] = []
    for module, name in _THEIRS:
        with contextlib.suppress(ImportError):
            found.append(getattr(importlib.import_module(module), name))
    return tuple(found)
