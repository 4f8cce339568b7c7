"""Where models and texts come from, and the pinning of each to exact content.

A source is a local file or folder, ``builtin:NAME`` (shipped with qpipe), a hub repository
``OWNER/NAME``, or ``hf:[datasets/]OWNER/NAME[@REVISION][/FILE]``. Pinning gives it parameters that
say what it is (the digest of a local tree, the commit of a repository), which enter keys, and a
``where`` that says how to get at it here, which does not.
"""

from __future__ import annotations

import contextlib
import fnmatch
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from qpipe.core import file_lock
from qpipe.core.digests import Digests
from qpipe.core.key import Json, bytes_sha256, content_digest
from qpipe.core.manifest import Manifest
from qpipe.errors import SourceError, StoreError
from qpipe.machine.capacity import usable_cores
from qpipe.sources import model_class, model_files
from qpipe.sources.model_class import ModelClass
from qpipe.support.files import exists, expanded, is_file, open_file, read_file

# The parts of a folder of lm-eval tasks, at any depth.
TASK_FILES = ("*.yaml", "*.json", "*.jsonl", "*.csv", "*.tsv", "*.txt", "*.parquet", "*.py", "*.md")

_COMMIT = re.compile(r"[0-9a-f]{40}")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_HF = re.compile(
    r"hf:(?P<type>datasets/)?(?P<repo>[A-Za-z0-9_][\w.-]*/[A-Za-z0-9_][\w.-]*)(@(?P<revision>[^/]+))?(/(?P<file>.+))?"
)
_WHOLE_SPLIT = re.compile(r"(?:.*/)?([^/]+/[^/]+)-00000-of-00001\.parquet")
# Bytes of an index at most (of 1,000,000 tensors), and of a pointer of git LFS.
_INDEX_BYTES, _POINTER_BYTES = 200 << 20, 1024

# How a local source becomes an artifact; 2: without a card's prose, and its name is noted.
FORM = 2

DATA = Path(__file__).parents[1] / "data"


@dataclass(frozen=True)
class PinnedSource:
    """A source as a node has it: ``params`` for the key, ``where`` for this machine.

    In ``where``, ``name`` is what its user calls it, and ``shown`` the folder of its files in the
    words of messages.
    """

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
        """The source's name in lock files and messages."""
        return f"{self.kind}:{self.repo}@{self.revision}"


@dataclass
class Pinner:
    """Pins sources; ``hashes`` is where the digests of local files are remembered.

    ``folders`` are searched for relative paths, in order; files are hashed on ``threads`` cores
    (None: those that qpipe may use). ``commits`` maps `HubSource.label` to a
    commit. ``resolve`` asks the hub for the commit of a revision, given the one that it named last;
    ``config`` fetches config.json of a repository. ``notes`` collects what was resolved, for
    `qpipe lock`.
    """

    folders: tuple[Path, ...]
    hashes: Path
    commits: Mapping[str, str]
    resolve: Callable[[HubSource, str | None], str]
    config: Callable[[HubSource], Path | None] = lambda source: None
    notes: dict[str, str] = field(default_factory=dict)
    threads: int | None = None

    def pin(self, source: str, revision: str | None) -> PinnedSource:
        """Pin one source. Raises SourceError if it is not there."""
        if not source:
            raise SourceError("'' is no source: give a file, a folder or OWNER/NAME, or null")
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

    def model_class(self, pinned: PinnedSource) -> ModelClass | None:
        """The class of the model in a pinned source; None for a GGUF file, and where config.json
        cannot be had."""
        if "path" in pinned.where:
            folder = Path(str(pinned.where["path"]))
            if not any(folder.glob("*.safetensors")):
                return None
            if any(folder.glob("*.gguf")) and files_of(folder)[0].suffix == ".gguf":
                return None
            return model_class.read(folder / model_class.CONFIG)
        params = pinned.params
        if params["kind"] != "model" or params["file"] is not None:
            return None
        label = f"{params['repo']}@{params['commit']}"
        note = self.hashes / f"class-{bytes_sha256(label.encode())}"
        found = model_class.recall(note)
        if found is None:
            source = HubSource(str(params["repo"]), "model", str(params["commit"]), None)
            config = self.config(source)
            found = None if config is None else model_class.read(config)
            if found is not None:
                model_class.remember(note, found)
        return found

    def _local(self, source: str) -> Path | None:
        if source.startswith("builtin:"):
            path = DATA / source.removeprefix("builtin:")
            if not exists(path):
                raise SourceError(f"{source}: qpipe ships no such model or text")
            return path
        if source.startswith("hf:"):
            return None
        path = expanded(source)
        for folder in self.folders:
            if exists(folder / path):
                return (folder / path).resolve()
        return None

    def _pin_local(self, path: Path) -> PinnedSource:
        try:
            return self._pin_files(path)
        except OSError as error:
            raise SourceError(
                f"{error.filename or path}: cannot be read: {error.strerror}"
            ) from error

    def _pin_files(self, path: Path) -> PinnedSource:
        if not (path.is_file() or path.is_dir()):
            raise SourceError(
                f"{path}: is a pipe or a device, whose content may be read but once; save it to a "
                "file, and give that"
            )
        files = files_of(path)
        if not files:
            raise SourceError(
                f"{path}: nothing in this folder is part of a checkpoint "
                f"(looked for {', '.join(model_files.PATTERNS)} and *.gguf), and it holds no tasks "
                "(*.yaml) either"
            )
        root = path.parent if path.is_file() else path
        whole = [file for file in files if not is_card(file, path)]
        threads = self.threads or usable_cores()
        digests = Digests(self.hashes).of_each(whole, threads=threads)
        sha256 = dict(zip(whole, digests, strict=True))
        entries = []
        for file in files:
            name = file.relative_to(root).as_posix()
            text = model_files.card_metadata(file) if is_card(file, path) else None
            if text is not None:
                entries.append((name, len(text), bytes_sha256(text)))
            elif not is_card(file, path):
                entries.append((name, file.stat().st_size, sha256[file]))
        return PinnedSource(
            {"kind": "local", "tree": content_digest(entries), "form": FORM},
            {
                "path": str(path),
                "name": _called(path),
                "shown": str(root),
                "bytes": sum(size for _, size, _ in entries),
            },
        )

    def _pin_hub(self, hub: HubSource) -> PinnedSource:
        commit = hub.revision
        if not is_commit(commit):
            commit = self.commits.get(hub.label) or self._resolved(hub)
            self.notes[hub.label] = commit
        if not is_commit(commit):
            raise SourceError(
                f"{hub.label}: the lock file has {commit!r} for it, which is no commit (40 digits "
                "of 0-9a-f); run `qpipe lock` again"
            )
        params: dict[str, Json] = {"kind": hub.kind, "repo": hub.repo, "commit": commit}
        name = hub.repo if hub.file is None else _called_file(hub.file)
        inside = "" if hub.file is None else f"/{PurePosixPath(hub.file).parent}".removesuffix("/.")
        shown = f"{hub.repo}@{commit[:8]}{inside}"
        return PinnedSource({**params, "file": hub.file}, {"name": name, "shown": shown})

    def _resolved(self, hub: HubSource) -> str:
        """The commit that the hub names, or without a network the one that it named last."""
        note = self.hashes / f"commit-{bytes_sha256(hub.label.encode())}"
        commit = self.resolve(hub, _noted(note))
        with contextlib.suppress(OSError):  # the next run without a network does without it
            file_lock.write_atomic(note, commit.encode(), sync=False)
        return commit


def _called_file(file: str) -> str:
    """The name of a file on the hub: its own, or that of a whole split in Parquet with its folder,
    ``wikitext-2-raw-v1/test``."""
    whole = _WHOLE_SPLIT.fullmatch(file)
    return PurePosixPath(file).name if whole is None else whole[1]


def _called(path: Path) -> str:
    """The name of a local source: of an artifact what it was made of, of any other its own."""
    try:
        manifest = Manifest.load(path)
    except (StoreError, OSError):
        return path.name
    return str(manifest.params.get("repo") or manifest.facts.get("name") or path.name)


def _noted(note: Path) -> str | None:
    with contextlib.suppress(OSError):
        commit = note.read_text(errors="replace")
        return commit if is_commit(commit) else None
    return None


def is_commit(revision: str) -> bool:
    """True if a revision is a commit's whole SHA, and so no name that may mean another tomorrow."""
    return _COMMIT.fullmatch(revision) is not None


def parse_hub(source: str, revision: str | None) -> HubSource | None:
    """The repository that ``source`` names, or None if it has no such form.

    A revision inside the source and another beside it contradict each other: SourceError, as for
    a name that would lead out of a folder.
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


def _is_name(part: str) -> bool:
    return part not in ("", ".", "..") and "\\" not in part and part.isprintable()


def _parse_hub(source: str, revision: str | None) -> HubSource | None:
    if match := _HF.fullmatch(source):
        inside = match["revision"]
        if inside and revision and inside != revision:
            raise SourceError(f"{source}: names revision {inside!r}, and revision {revision!r} too")
        kind = "dataset" if match["type"] else "model"
        return HubSource(match["repo"], kind, inside or revision or "main", match["file"])
    if _REPOSITORY.fullmatch(source):
        return HubSource(source, "model", revision or "main", None)
    return None


def files_of(path: Path) -> list[Path]:
    """The files that a local source comes to, in order: of a GGUF file all its parts, of a folder
    those that mean something to us.

    Of a checkpoint those of the folder itself, and its further chat templates. A folder with *.yaml
    and no config.json is one of tasks: all of them and their data, below it too, but for what is
    hidden or compiled. Raises SourceError for a model that cannot be read.
    """
    if path.is_file():
        beside = [other.name for other in path.parent.glob("*.gguf")]
        names = model_files.all_parts(str(path), path.name, beside)
        return [path.parent / name for name in names]
    return _of_folder(path)


def _of_folder(folder: Path) -> list[Path]:
    if holds_tasks(folder):
        return sorted(path for path in folder.rglob("*") if _is_of_tasks(path, folder))
    names = [path.name for path in folder.iterdir() if is_file(path)]
    templates = [path for path in (folder / model_files.TEMPLATES).glob("*.jinja") if is_file(path)]
    names += map(model_files.place, templates)

    def read(name: str) -> bytes:
        return read_file(folder / name, SourceError, most=_INDEX_BYTES)

    files = [folder / name for name in model_files.selected_files(str(folder), names, read)]
    if pointers := [file.name for file in files if _is_pointer(file)]:
        raise SourceError(
            f"{folder}: {', '.join(pointers[:3])}{' and others' if pointers[3:] else ''}: pointers "
            "of git LFS and not the files themselves; run `git lfs pull` in that folder"
        )
    return files


def _is_pointer(file: Path) -> bool:
    """True if git LFS has not fetched a file: what it leaves is short."""
    from qpipe.gguf.safetensors import is_pointer

    if file.stat().st_size >= _POINTER_BYTES:
        return False
    with open_file(file, SourceError) as opened:
        return is_pointer(opened.read(_POINTER_BYTES))


def is_card(file: Path, source: Path) -> bool:
    """True if a file of the folder ``source`` is the model card of a checkpoint."""
    return file.name == model_files.CARD and file.parent == source and not holds_tasks(source)


def holds_tasks(folder: Path) -> bool:
    """True if a folder is one of lm-eval tasks."""
    return any(folder.glob("*.yaml")) and not (folder / "config.json").exists()


def _is_of_tasks(path: Path, folder: Path) -> bool:
    inside = path.relative_to(folder)
    hidden = any(part.startswith((".", "__")) for part in inside.parts)
    matches = any(fnmatch.fnmatch(path.name, pattern) for pattern in (*TASK_FILES, "LICENSE*"))
    return matches and not hidden and path.is_file()
