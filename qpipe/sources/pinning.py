"""Where models and texts come from, and the pinning of each to exact content.

A source is a local file or folder, ``builtin:NAME`` (shipped with qpipe), or a repository on the
hub (`qpipe.sources.hub_source`). Pinning gives it parameters that say what it is (the digest of a
local tree, the commit of a repository), which enter keys, and a ``where`` that says how to get at
it here, which does not.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from qpipe.core import file_lock
from qpipe.core.digests import Digests
from qpipe.core.key import Json, bytes_sha256, content_digest
from qpipe.core.manifest import Manifest
from qpipe.errors import MissingPathError, RecipeError, SourceError, StoreError
from qpipe.machine.capacity import usable_cores
from qpipe.sources import gguf_types, model_class, model_files, pickle_names
from qpipe.sources.hub_source import HubSource, hub_source, is_commit, parse_hub
from qpipe.sources.local_files import checkpoint_of, files_of, is_card, pickles_of
from qpipe.sources.model_class import ModelClass
from qpipe.sources.sha256 import digests_named
from qpipe.support.addresses import is_address, slip, without_secrets
from qpipe.support.files import exists, expanded, is_file

if TYPE_CHECKING:
    from qpipe.sources.remote import RemoteSource

_WHOLE_SPLIT = re.compile(r"(?:.*/)?([^/]+/[^/]+)-00000-of-00001\.parquet")
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


@dataclass
class Pinner:
    """Pins sources; ``hashes`` is where the digests of local files are remembered.

    ``folders`` are searched for relative paths, in order; files are hashed on ``threads`` cores
    (None: those that qpipe may use). ``commits`` maps `HubSource.label` to a
    commit. ``resolve`` asks the hub for the commit of a revision, given the one that it named last;
    ``config`` fetches config.json of a repository; ``files`` names the files of a commit, and says
    whether these are all (without a network, what the hub's cache has). ``learn`` fetches the files
    of an address whose digests nobody has given, and returns them (None: that is refused); with
    ``anew`` it is asked even if there were digests before. ``notes`` collects what was resolved,
    for `qpipe lock`, and ``learned`` the digests among it that were not known.
    """

    folders: tuple[Path, ...]
    hashes: Path
    commits: Mapping[str, str]
    resolve: Callable[[HubSource, str | None], str]
    config: Callable[[HubSource], Path | None] = lambda source: None
    learn: Callable[[RemoteSource], dict[str, str]] | None = None
    files: Callable[[HubSource], tuple[list[str], bool]] = lambda source: ([], False)
    anew: bool = False
    notes: dict[str, str] = field(default_factory=dict)
    learned: dict[str, str] = field(default_factory=dict)
    threads: int | None = None

    def pin(
        self,
        source: str,
        revision: str | None,
        sha256: str | Sequence[str] | None = None,
        *,
        allow_pickle: bool = False,
        look: Callable[[Path], None] | None = None,
    ) -> PinnedSource:
        """Pin one source, whose files must have the digests ``sha256``, if any are given. Raises
        SourceError if it is not there, and what ``look`` raises of a local path.

        Its weights may be pickles only with ``allow_pickle``, which takes a repository's exact
        commit: RecipeError without.
        """
        pinned = self._pin(source, revision, sha256, allow_pickle=allow_pickle, look=look)
        if pickle_names.is_source(pinned.params, pinned.where) and not allow_pickle:
            raise SourceError(
                f"{without_secrets(source)}: a pickle, which is read by running it: give "
                "safetensors, or set model.allow_pickle=true (of a repository with its exact "
                "commit as model.revision; of run.reference run.allow_pickle=true), and qpipe "
                "reads its tensors alone; `qpipe attest` takes safetensors alone"
            )
        return pinned

    def _pin(
        self,
        source: str,
        revision: str | None,
        sha256: str | Sequence[str] | None,
        *,
        allow_pickle: bool,
        look: Callable[[Path], None] | None,
    ) -> PinnedSource:
        if not source:
            raise SourceError("'' is no source: give a file, a folder or OWNER/NAME, or null")
        digests = digests_named(sha256)
        shown = without_secrets(source)
        if beginning := slip(source):
            raise SourceError(f"{shown}: no address: it has to begin with {beginning}")
        if source[:5].lower() == "file:":
            from qpipe.sources import remote

            source, behind = remote.local_path(f"file:{source[5:]}")
            digests += [] if behind is None or behind in digests else [behind]
        if path := self._local(source):
            if look is not None:
                look(path)
            return self._pin_local(pickles_of(path) if allow_pickle else path, digests)
        hub = parse_hub(source, revision)
        if hub is None and is_address(source):
            return self._pin_remote(source, revision, digests)
        if hub is None:
            raise MissingPathError(
                f"{source}: no such file or folder (looked in "
                f"{', '.join(str(folder) for folder in self.folders)}), and it is no hub "
                "repository (OWNER/NAME) either"
            )
        if digests:
            raise SourceError(
                f"{shown}: model.sha256 is for a file here or at an address; a repository is "
                "pinned by its commit (model.revision), and its files by the digests that the hub "
                "names"
            )
        try:
            return self._pin_hub(self._pickles(hub) if allow_pickle else hub)
        except SourceError as error:
            if source != f"{hub.repo}/{hub.file}":
                raise
            raise type(error)(
                f"{source}: no such file here, and as a file of a repository on the hub: {error}"
            ) from None

    def require_model(self, source: str) -> None:
        """Raise SourceError for a source that is plainly no model; what is not there `pin` says."""
        from qpipe.sources import no_model

        if source[:5].lower() == "file:":
            from qpipe.sources import remote

            source = remote.local_path(f"file:{source[5:]}")[0]
        if source:
            no_model.require_model(without_secrets(source), self._local(source))

    def claim(self, pinned: PinnedSource) -> list[str]:
        """The note on a GGUF model here whose name claims another type than it has, remembered."""
        path = Path(str(pinned.where.get("path", "")))
        if not gguf_types.is_model(path.name):
            return []
        about = f"{pinned.params['tree']} {path.name}"
        note = self.hashes / f"claim-{bytes_sha256(about.encode())}"
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return note.read_text().splitlines()
        from qpipe.sources import claimed_type

        notes = claimed_type.notes([path])
        with contextlib.suppress(OSError):
            file_lock.write_atomic(note, "\n".join(notes).encode(), sync=False)
        return notes

    def model_class(self, pinned: PinnedSource) -> ModelClass | None:
        """The class of the model in a pinned source; None for a GGUF file, and where config.json
        cannot be had."""
        if "path" in pinned.where:
            folder = checkpoint_of(Path(str(pinned.where["path"])))
            if pickle_names.is_source(pinned.params, pinned.where):
                return model_class.read(folder / model_class.CONFIG)
            if not any(folder.glob("*.safetensors")):
                return None
            if any(folder.glob("*.gguf")) and files_of(folder)[0].suffix == ".gguf":
                return None
            return model_class.read(folder / model_class.CONFIG)
        if "files" in pinned.params and "url" in pinned.where:
            from qpipe.sources import remote_pins

            return remote_pins.checkpoint_class(pinned.params, pinned.where, self.hashes)
        source = hub_source(pinned.params)
        if source is None or source.kind != "model" or source.one_file is not None:
            return None
        label = f"{source.repo}@{source.revision}"
        note = self.hashes / f"class-{bytes_sha256(label.encode())}"
        found = model_class.recall(note)
        if found is None:
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

    def _pin_local(self, path: Path, sha256: Sequence[str]) -> PinnedSource:
        try:
            pinned = self._pin_files(path)
            if sha256:
                _require(path, sha256, Digests(self.hashes))
            return pinned
        except OSError as error:
            raise SourceError(
                f"{error.filename or path}: cannot be read: {error.strerror}"
            ) from error

    def _pin_files(self, path: Path) -> PinnedSource:
        given = path
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
        path = checkpoint_of(path)
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
                "path": str(given),
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
        if hub.type is not None:
            hub = replace(hub, file=self._file_of_type(replace(hub, revision=commit), hub.type))
        params: dict[str, Json] = {"kind": hub.kind, "repo": hub.repo, "commit": commit}
        name = hub.repo if hub.one_file is None else _called_file(hub.one_file)
        inside = "" if hub.file is None else f"/{PurePosixPath(hub.file).parent}".removesuffix("/.")
        shown = f"{hub.repo}@{commit[:8]}{inside}"
        return PinnedSource({**params, "file": hub.file}, {"name": name, "shown": shown})

    def _pin_remote(self, url: str, revision: str | None, sha256: Sequence[str]) -> PinnedSource:
        from qpipe.sources.remote_pins import RemotePins

        pins = RemotePins(self.hashes, self.commits, self.learn, self.anew)
        params, where = pins.pin(url, revision, sha256)
        self.notes |= pins.notes
        self.learned |= pins.learned
        return PinnedSource(params, where)

    def _pickles(self, hub: HubSource) -> HubSource:
        """The repository, or where its weights are pickles alone these. Raises RecipeError without
        an exact commit."""
        if not is_commit(hub.revision):
            raise RecipeError(
                f"model.allow_pickle: true lets {hub.repo} give weights as pickles, so it needs "
                f"the exact commit that you trust, not {hub.revision!r}: set model.revision to its "
                "40-digit SHA (with run.allow_pickle write run.reference=OWNER/NAME@SHA), or "
                "allow_pickle to false"
            )
        if hub.file is not None or hub.type is not None:
            return hub
        note = self.hashes / f"pickles-{bytes_sha256(hub.label.encode())}"
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return replace(hub, file=note.read_text() or None)
        try:
            names, whole = self.files(hub)
        except SourceError:  # downloading it says why
            return hub
        file = pickle_names.standing_for(names)
        if whole:
            with contextlib.suppress(OSError):  # a commit's files stay what they are
                file_lock.write_atomic(note, (file or "").encode(), sync=False)
        return replace(hub, file=file)

    def _file_of_type(self, hub: HubSource, kind: str) -> str:
        """The file of a commit that is its GGUF model of type ``kind``. Raises SourceError."""
        note = self.hashes / f"type-{bytes_sha256(f'{hub.label}:{kind}'.encode())}"
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return note.read_text()
        names, whole = self.files(hub)
        file = gguf_types.chosen(hub.label, hub.repo, model_files.gguf_models(names), kind)
        if whole:
            with contextlib.suppress(OSError):  # a commit's files stay what they are
                file_lock.write_atomic(note, file.encode(), sync=False)
        return file

    def _resolved(self, hub: HubSource) -> str:
        """The commit that the hub names, or without a network the one that it named last."""
        note = self.hashes / f"commit-{bytes_sha256(hub.label.encode())}"
        commit = self.resolve(hub, _noted(note))
        with contextlib.suppress(OSError):  # the next run without a network does without it
            file_lock.write_atomic(note, commit.encode(), sync=False)
        return commit


def _require(path: Path, sha256: Sequence[str], known: Digests) -> None:
    """Raise SourceError for local files that do not have their digests."""
    if not is_file(path) or checkpoint_of(path) != path:
        raise SourceError(
            f"{path}: model.sha256 is of one file, and this is a folder, whose files are pinned by "
            "their content as they are; leave it out"
        )
    files = files_of(path)
    if len(files) != len(sha256):
        raise SourceError(
            f"{path}: model.sha256 names {len(sha256)} digests, and the model has {len(files)} "
            "files: give one for each, in their order"
        )
    for file, expected in zip(files, sha256, strict=True):
        if (digest := known.of(file)) != expected:
            raise SourceError(
                f"{file}: its bytes have the SHA-256 {digest}, and model.sha256 asks for "
                f"{expected}: it is another file, or damaged; fetch it again, or correct the digest"
            )


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
