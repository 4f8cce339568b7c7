"""Headers of files of weights on the hub, by range: what sizes and memory hang on, without weights.

A file is kept in the user's cache under its name and with its length, and is a hole behind its
header, which takes no room on disks that know holes: readers of headers read it as the whole one.
"""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from qpipe.errors import CheckpointError, SourceError
from qpipe.gguf import reader
from qpipe.gguf.safetensors import MAX_HEADER
from qpipe.sources import gguf_types, hub, model_files
from qpipe.sources.hub_download import beginning
from qpipe.sources.hub_source import HubSource
from qpipe.support.user_cache import user_cache

_FIRST = 1 << 20
_LENGTH = 8  # bytes that say how long a safetensors header is
_SAFETENSORS = ".safetensors"


def gguf(source: HubSource) -> tuple[str, Path]:
    """The commit that ``source`` stands for, and the header of the GGUF model that it names, by a
    file or a type; of one in several files that of each. Raises SourceError."""
    commit = hub.resolve_commit(source)
    pinned = replace(source, revision=commit)
    file = source.file
    if file is None:
        names, _ = hub.file_names(pinned)
        models = model_files.gguf_models(names)
        file = gguf_types.chosen(source.label, source.repo, models, str(source.type))
    first, *_ = _fetched(pinned, hub.with_parts(file))
    return commit, first


def checkpoint(source: HubSource, small: Path) -> Path:
    """A folder with the headers of all safetensors files of a commit, beside what the folder
    ``small`` has. Raises SourceError; of a repository without such files it is ``small``."""
    names, _ = hub.file_names(source)
    weights = [name for name in names if name.endswith(_SAFETENSORS) and "/" not in name]
    if not weights:
        return small
    files = _fetched(source, weights)
    for file in small.iterdir():
        if file.is_file() and file.suffix != _SAFETENSORS:
            shutil.copyfile(file, files[0].parent / file.name)
    return files[0].parent


def _fetched(source: HubSource, names: Iterable[str]) -> list[Path]:
    folder = user_cache() / "headers" / source.repo.replace("/", "--") / source.revision
    return [_header(source, name, folder / name) for name in names]


def _header(source: HubSource, name: str, path: Path) -> Path:
    """One file's header, fetched if it is not there."""
    if path.is_file():
        return path
    data, size = beginning(source, name, _FIRST)
    while (length := _size(source, name, data)) is None or length > len(data):
        if len(data) >= size:
            raise SourceError(
                f"{source.label}: {name}: ends in the middle of its header: the upload is damaged"
            )
        wanted = max(2 * len(data), length or 0)
        if wanted > 2 * reader.MAX_METADATA:
            raise SourceError(f"{source.label}: {name}: its header takes over {len(data):,} bytes")
        data, size = beginning(source, name, wanted)
    _keep(path, data[:length], size)
    return path


def _size(source: HubSource, name: str, data: bytes) -> int | None:
    """Bytes of the header of a file that begins so; None where that is not to be seen yet."""
    if name.endswith(_SAFETENSORS):
        if len(data) < _LENGTH:
            return None
        (length,) = struct.unpack("<Q", data[:_LENGTH])
        if length > MAX_HEADER:
            raise SourceError(f"{source.label}: {name}: is no safetensors file")
        return int(_LENGTH + length)
    try:
        return reader.header_size(Path(name), data)
    except CheckpointError as error:
        raise SourceError(f"{source.label}: {error}") from None


def _keep(path: Path, header: bytes, size: int) -> None:
    """Write a file that is a hole behind its header."""
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(header)
            file.truncate(size)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise SourceError(
            f"{path}: the header cannot be kept there ({error.strerror}); set XDG_CACHE_HOME to a "
            "folder that can be written to"
        ) from None
