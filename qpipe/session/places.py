"""Where the files of an artifact are: in the store, in runs' folders, and where they came from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qpipe.core.key import Json
from qpipe.core.manifest import Manifest
from qpipe.core.store import Artifact
from qpipe.session.run_links import linked
from qpipe.session.run_models import MODELS


@dataclass(frozen=True)
class Places:
    """Paths of an artifact's files: the folder, the ``file`` if it is one, and the ``links`` in
    runs' folders, the newest run first. ``source`` is where a download came from (None: of others,
    and where that is not known)."""

    folder: Path
    file: Path | None
    links: Sequence[Path]
    source: str | None

    def record(self) -> dict[str, Json]:
        """Return the places as JSON-ready data."""
        links: list[Json] = [str(link) for link in self.links]
        file = None if self.file is None else str(self.file)
        return {"path": str(self.folder), "file": file, "links": links, "source": self.source}


def places_of(artifact: Artifact, runs: Path) -> Places:
    """Find the files of an artifact, and the links to them below the folder ``runs``."""
    folder, manifest = artifact.path.absolute(), artifact.manifest
    files = [folder / entry.path for entry in manifest.files]
    inodes = {
        (stat.st_dev, stat.st_ino) for stat in (file.stat() for file in files if file.exists())
    }
    paths = [
        path for inode, of in linked(runs.absolute()).items() if inode in inodes for path in of
    ]
    links = dict.fromkeys(_model(path) for path in sorted(paths, reverse=True))
    file = files[0] if len(files) == 1 else None
    return Places(folder, file, list(links), _source(manifest, folder))


def _model(path: Path) -> Path:
    """The file or folder in a run's models' folder that a path is or is in."""
    while path.parent.name != MODELS:
        path = path.parent
    return path


def _source(manifest: Manifest, folder: Path) -> str | None:
    """The path or repository that a download took, as recorded; of what was made before a path was
    recorded where its links lead."""
    params, facts = manifest.params, manifest.facts
    if manifest.stage != "download":
        return None
    if params.get("repo"):
        inside = f"/{params['file']}" if params.get("file") else ""
        kind = "datasets/" if params.get("kind") == "dataset" else ""
        return f"hf:{kind}{params['repo']}@{params['commit']}{inside}"
    if isinstance(path := facts.get("fetched_from"), str):
        return path
    files = [folder / entry.path for entry in manifest.files]
    targets = [os.path.realpath(file) for file in files if file.is_symlink()]
    if not targets:
        return None
    return targets[0] if len(files) == 1 else os.path.commonpath(targets)
