"""Where models and texts come from, and the pinning of each to exact content.

A source is a local file or folder, ``builtin:NAME`` (shipped with qpipe), a hub repository
``OWNER/NAME``, or ``hf:[datasets/]OWNER/NAME[@REVISION][/FILE]``. Pinning gives it parameters that
say what it is (the digest of a local tree, the commit of a repository), which enter keys, and a
``where`` that says how to get at it here, which does not.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from qpipe.core.digests import Digests
from qpipe.core.files import exists, expanded
from qpipe.core.key import Json, bytes_sha256, content_digest
from qpipe.errors import SourceError
from qpipe.stages import card

# The parts of a checkpoint folder or repository that mean something to us.
WANTED = ("*.safetensors", "*.json", "*.model", "*.txt", "*.jinja", "LICENSE*", "README.md")
# Where transformers 5 saves chat templates but the default one.
TEMPLATES = "additional_chat_templates"
# The parts of a folder of lm-eval tasks, at any depth.
TASK_FILES = ("*.yaml", "*.json", "*.jsonl", "*.csv", "*.tsv", "*.txt", "*.parquet", "*.py", "*.md")

_COMMIT = re.compile(r"[0-9a-f]{40}")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_HF = re.compile(
    r"hf:(?P<type>datasets/)?(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[^/]+))?(/(?P<file>.+))?"
)
# How a local source becomes an artifact; 2: without a card's prose, and its name is noted.
FORM = 2

DATA = Path(__file__).parents[1] / "data"


@dataclass(frozen=True)
class Pinned:
    """A source as a node has it: ``params`` for the key, ``where`` for this machine."""

    params: Mapping[str, Json]
    where: Mapping[str, Json]


@dataclass(frozen=True)
class HubSource:
    """A repository on the hub, or one file of it. ``kind`` is model or dataset."""

    repo: str
    kind: str
    revision: str
    file: str | None

    @property
    def label(self) -> str:
        """How lock files and messages name it."""
        return f"{self.kind}:{self.repo}@{self.revision}"


@dataclass
class Pinner:
    """Pins sources; ``hashes`` is where the digests of local files are remembered.

    ``folders`` are searched for relative paths, in order. ``locked`` maps `HubSource.label` to a
    commit. ``resolve`` asks the hub for the commit of a revision. ``notes`` collects what was
    resolved, for `qpipe lock`.
    """

    folders: tuple[Path, ...]
    hashes: Path
    locked: Mapping[str, str]
    resolve: Callable[[HubSource], str]
    notes: dict[str, str] = field(default_factory=dict)

    def pin(self, source: str, revision: str | None) -> Pinned:
        """Pin one source. Raises SourceError if it is not there."""
        if path := self._local(source):
            return self._pin_local(path)
        hub = parse_hub(source, revision)
        if hub is None:
            raise SourceError(
                f"{source}: no such file or folder (looked in "
                f"{', '.join(str(folder) for folder in self.folders)}), and it is no hub "
                "repository (OWNER/NAME) either"
            )
        return self._pin_hub(hub)

    def _local(self, source: str) -> Path | None:
        if source.startswith("builtin:"):
            path = DATA / source.removeprefix("builtin:")
            if not exists(path):
                raise SourceError(f"{source}: qpipe ships no such model or text")
            return path
        if source.startswith("hf:"):
            return None
        given = expanded(source)
        for folder in self.folders:
            if exists(folder / given):
                return (folder / given).resolve()
        return None

    def _pin_local(self, path: Path) -> Pinned:
        try:
            return self._pin_files(path)
        except OSError as error:
            raise SourceError(
                f"{error.filename or path}: cannot be read: {error.strerror}"
            ) from error

    def _pin_files(self, path: Path) -> Pinned:
        if not (path.is_file() or path.is_dir()):
            raise SourceError(
                f"{path}: is a pipe or a device, whose content may be read but once; save it to a "
                "file, and give that"
            )
        files = [path] if path.is_file() else wanted_files(path)
        if not files:
            raise SourceError(
                f"{path}: nothing in this folder is part of a checkpoint "
                f"(looked for {', '.join(WANTED)}), and it holds no tasks (*.yaml) either"
            )
        root = path.parent if path.is_file() else path
        digests = Digests(self.hashes)
        entries = []
        for file in files:
            name = file.relative_to(root).as_posix()
            text = card.head(file) if is_card(file, path) else None
            if text is not None:
                entries.append((name, len(text), bytes_sha256(text)))
            elif not is_card(file, path):
                entries.append((name, file.stat().st_size, digests.of(file)))
        return Pinned(
            {"kind": "local", "tree": content_digest(entries), "form": FORM},
            {"path": str(path), "name": path.name, "bytes": sum(size for _, size, _ in entries)},
        )

    def _pin_hub(self, hub: HubSource) -> Pinned:
        commit = hub.revision
        if not _COMMIT.fullmatch(commit):
            commit = self.locked.get(hub.label) or self.resolve(hub)
            self.notes[hub.label] = commit
        params: dict[str, Json] = {"kind": hub.kind, "repo": hub.repo, "commit": commit}
        name = hub.repo if hub.file is None else PurePosixPath(hub.file).name
        return Pinned({**params, "file": hub.file}, {"name": name})


def parse_hub(source: str, revision: str | None) -> HubSource | None:
    """The repository that ``source`` names, or None if it has no such form.

    A revision inside the source and another beside it contradict each other: SourceError.
    """
    if match := _HF.fullmatch(source):
        inside = match["revision"]
        if inside and revision and inside != revision:
            raise SourceError(f"{source}: names revision {inside!r}, and revision {revision!r} too")
        kind = "dataset" if match["type"] else "model"
        return HubSource(match["repo"], kind, inside or revision or "main", match["file"])
    if _REPOSITORY.fullmatch(source):
        return HubSource(source, "model", revision or "main", None)
    return None


def wanted_files(folder: Path) -> list[Path]:
    """The files of a folder that mean something to us, in order.

    Of a checkpoint those of the folder itself, and its further chat templates. A folder with *.yaml
    and no config.json is one of tasks: all of them and their data, below it too, but for what is
    hidden or compiled.
    """
    if holds_tasks(folder):
        return sorted(path for path in folder.rglob("*") if _is_of_tasks(path, folder))
    return sorted(
        path
        for path in (*folder.iterdir(), *(folder / TEMPLATES).glob("*.jinja"))
        if path.is_file() and any(fnmatch.fnmatch(path.name, pattern) for pattern in WANTED)
    )


def is_card(file: Path, source: Path) -> bool:
    """Whether a file of the folder ``source`` is the model card of a checkpoint."""
    return file.name == card.CARD and file.parent == source and not holds_tasks(source)


def holds_tasks(folder: Path) -> bool:
    """Whether a folder is one of lm-eval tasks."""
    return any(folder.glob("*.yaml")) and not (folder / "config.json").exists()


def _is_of_tasks(path: Path, folder: Path) -> bool:
    inside = path.relative_to(folder)
    hidden = any(part.startswith((".", "__")) for part in inside.parts)
    wanted = any(fnmatch.fnmatch(path.name, pattern) for pattern in (*TASK_FILES, "LICENSE*"))
    return wanted and not hidden and path.is_file()
