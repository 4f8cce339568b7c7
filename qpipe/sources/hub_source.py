"""A repository on the hub, or a file of it, as recipes name it.

``OWNER/NAME[@REVISION]``, with ``:TYPE``, ``/FILE.gguf`` or ``:FILE.gguf`` for one GGUF model;
``hf:[datasets/]OWNER/NAME[@REVISION][:TYPE][/FILE]``; and what a browser's address bar, llama.cpp's
``-hf`` and Ollama have: ``https://huggingface.co/OWNER/NAME/blob/REVISION/FILE``,
``hf.co/OWNER/NAME:TYPE``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from qpipe.core.key import Json
from qpipe.errors import SourceError
from qpipe.sources.model_files import names_weights

_COMMIT = re.compile(r"[0-9a-f]{40}")
_REPO = r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)"
_AT = r"(@(?P<revision>[^/:]+))?(:(?P<type>[A-Za-z0-9_-]+))?"
_PLAIN = re.compile(_REPO + _AT + r"(/(?P<file>.+\.gguf))?")
_HF = re.compile(
    r"hf:(?P<datasets>datasets/)?" + _REPO.replace("A-Za", "_A-Za") + _AT + r"(/(?P<file>.+))?"
)
_PAGE = re.compile(
    r"/(?P<datasets>datasets/)?"
    + _REPO
    + r"(/(resolve|blob|raw|tree)/(?P<revision>[^/]+)(/(?P<file>.+))?)?/?"
)
_HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")


@dataclass(frozen=True)
class HubSource:
    """A repository on the hub, or one file of it. ``kind`` is model or dataset; ``type`` that of
    the GGUF model which is meant, where no ``file`` is named yet."""

    repo: str
    kind: str
    revision: str
    file: str | None
    type: str | None = None

    @property
    def label(self) -> str:
        """The source's name in lock files and messages."""
        return f"{self.kind}:{self.repo}@{self.revision}"

    @property
    def weights(self) -> str | None:
        """The file that says which weights of a checkpoint are meant; None: those that it has."""
        is_part = self.kind == "model" and "/" not in (self.file or "/")
        return self.file if is_part and names_weights(str(self.file)) else None

    @property
    def one_file(self) -> str | None:
        """The one file that is taken; None: all that belong to the model."""
        return self.file if self.weights is None else None

    @property
    def is_gguf(self) -> bool:
        """True if it is one GGUF model by its name."""
        return self.type is not None or (self.file or "").endswith(".gguf")


def is_commit(revision: str) -> bool:
    """True if a revision is a commit's whole SHA, and so no name that may mean another tomorrow."""
    return _COMMIT.fullmatch(revision) is not None


def parse_hub(source: str, revision: str | None) -> HubSource | None:
    """The repository that ``source`` names, or None if it has no such form.

    A revision inside the source and another beside it contradict each other: SourceError, as for
    a type beside a file, and a name that would lead out of a folder.
    """
    hub_source = _parse_hub(source, revision)
    if hub_source is not None:
        for field, name in (
            ("model.revision", hub_source.revision),
            ("file", hub_source.file or ""),
        ):
            if name and not all(map(_is_name, name.split("/"))):
                raise SourceError(
                    f"{source}: {field} {name!r} is no name on the hub: it has an empty part, `.`, "
                    "`..` or a backslash; give a branch, a tag or a commit SHA of 40 digits"
                )
    return hub_source


def hub_source(params: Mapping[str, Json]) -> HubSource | None:
    """The repository that a node with these parameters downloads; None if it is none."""
    kind, file = params.get("kind"), params.get("file")
    if kind not in ("model", "dataset"):
        return None
    name = None if file is None else str(file)
    return HubSource(str(params["repo"]), str(kind), str(params["commit"]), name)


def names_gguf(source: str) -> bool:
    """True if a source is one GGUF model by its name."""
    if source.endswith(".gguf"):  # models/m.gguf, which could be a repository's name too
        return True
    hub_source = _parse_hub(source, None)
    if hub_source is not None:
        return hub_source.is_gguf
    if "://" in source:
        from urllib.parse import unquote, urlsplit

        return unquote(urlsplit(source).path).endswith(".gguf")
    return False


def _is_name(part: str) -> bool:
    return part not in ("", ".", "..") and "\\" not in part and part.isprintable()


def _parse_hub(source: str, revision: str | None) -> HubSource | None:
    match = _match(source)
    if match is None and source.endswith(".gguf"):  # OWNER/NAME:FILE.gguf
        repo, _, file = source.rpartition(":")
        match = _match(f"{repo}/{file}") if "/" in repo else None
    if match is None:
        return None
    parts = match.groupdict()
    inside, file, kind = parts["revision"], parts["file"], parts.get("type")
    if inside and revision and inside != revision:
        raise SourceError(f"{source}: names revision {inside!r}, and revision {revision!r} too")
    if file and kind:
        raise SourceError(f"{source}: names the file {file!r} and the type {kind!r}; give one")
    if kind and parts.get("datasets"):
        raise SourceError(f"{source}: a data set has no GGUF model of type {kind!r}; give a file")
    return HubSource(
        parts["repo"],
        "dataset" if parts.get("datasets") else "model",
        inside or revision or "main",
        file,
        kind.upper() if kind else None,
    )


def _match(source: str) -> re.Match[str] | None:
    return _HF.fullmatch(source) or _on_page(source) or _PLAIN.fullmatch(source)


def _on_page(source: str) -> re.Match[str] | None:
    """The parts of a page's address on the hub, or of that address as Ollama writes it."""
    first, _, rest = source.partition("/")
    if first in _HOSTS:
        return _PLAIN.fullmatch(rest)
    if not source.startswith(("https://", "http://")):
        return None
    from urllib.parse import unquote, urlsplit  # most sources are none

    parts = urlsplit(source)
    endpoint = urlsplit(os.environ.get("HF_ENDPOINT", ""))
    if parts.netloc not in (*_HOSTS, endpoint.netloc) or not parts.netloc:
        return None
    path = unquote(parts.path)
    return _PAGE.fullmatch(path) or _PLAIN.fullmatch(path.lstrip("/"))
