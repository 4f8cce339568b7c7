"""download: a local folder or file, or a hub repository, brought into the store under a pin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from qpipe.core.key import Json, content_digest
from qpipe.core.link import link
from qpipe.core.manifest import FileEntry
from qpipe.errors import SourceError
from qpipe.stages import base, hub
from qpipe.stages.sources import HubSource, wanted_files


class Given(base.Params):
    """What a recipe says of a source; see qpipe/stages/sources.py for its forms."""

    source: str
    revision: str | None = None


class Pinned(base.Params):
    """What a node holds of it: the digest of a local tree, or a repository's commit."""

    kind: Literal["local", "model", "dataset"]
    tree: str | None = None
    repo: str | None = None
    commit: str | None = None
    file: str | None = None


class Download(base.Stage):
    """Links the files of a source into an artifact; their bytes are not copied."""

    kind = "download"
    version = 1
    Params = Pinned

    @classmethod
    def given(cls) -> type[Given]:
        """A source as recipes write it."""
        return Given

    @classmethod
    def makes(cls, params: Given) -> str:
        """A single file is a GGUF (or a text); folders and repositories bring safetensors alone."""
        return base.GGUF if params.source.endswith(".gguf") else base.CHECKPOINT

    @classmethod
    def confirm(cls, params: Pinned, files: Sequence[FileEntry]) -> None:
        """Raises SourceError if a local tree is not the one that was pinned."""
        found = content_digest((entry.path, entry.size, entry.sha256) for entry in files)
        if params.tree is not None and found != params.tree:
            raise SourceError(
                "the source's files changed while the run was under way; run the command again"
            )

    def run(self, params: Pinned, work: base.Work) -> Mapping[str, Json]:
        """Raises SourceError if the source cannot be had or changed since it was pinned."""
        files = self._local(work) if params.kind == "local" else self._hub(params, work)
        total = sum(path.stat().st_size for path in files)
        root = self._root(params, work)
        for path in files:
            target = work.out / (path.relative_to(root) if root else path.name)
            target.parent.mkdir(parents=True, exist_ok=True)
            link(path, target)
        work.progress(total, total, "bytes")
        return {"size_bytes": total, "files": len(files)}

    def _root(self, params: Pinned, work: base.Work) -> Path | None:
        """The folder below which files keep their places; None: they have none."""
        if params.kind != "local":
            return None
        path = Path(str(work.where["path"]))
        return path if path.is_dir() else None

    def _local(self, work: base.Work) -> list[Path]:
        path = Path(str(work.where["path"]))
        if not path.exists():
            raise SourceError(f"{path}: it was there when the run began, and is gone")
        return [path] if path.is_file() else wanted_files(path)

    def _hub(self, params: Pinned, work: base.Work) -> list[Path]:
        assert params.repo is not None and params.commit is not None
        source = HubSource(params.repo, params.kind, params.commit, params.file)
        return hub.fetch(source, work.progress)
