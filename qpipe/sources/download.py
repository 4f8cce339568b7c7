"""download: a local folder or file, or a hub repository, brought into the store under a pin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from qpipe.core.digests import stamp
from qpipe.core.env_values import reveal
from qpipe.core.key import Json, content_digest
from qpipe.core.manifest import FileEntry
from qpipe.errors import EngineMissingError, SourceError
from qpipe.machine.filesystem import remove_tree
from qpipe.sources import claimed_type, digest_check, hub, hub_download, model_files
from qpipe.sources.hub_download import HubFile
from qpipe.sources.hub_source import HubSource, names_gguf
from qpipe.sources.local_files import checkpoint_of, files_of, is_card
from qpipe.sources.sha256_setting import Sha256
from qpipe.stages import base
from qpipe.support import hashing
from qpipe.texts import records


class DownloadSettings(base.Params):
    """A source as a recipe writes it; see qpipe/sources/pinning.py for its forms."""

    source: str = Field(
        description=(
            "A folder, a file, OWNER/NAME on the hub, OWNER/NAME:TYPE or OWNER/NAME/FILE.gguf of "
            "it, an address (https://, file://, s3://, gs://), or builtin:NAME."
        )
    )
    revision: str | None = Field(
        None,
        description=(
            "A commit, tag or branch on the hub. null: the newest commit of the main branch, "
            "which `qpipe lock` pins."
        ),
    )
    sha256: Sha256 = Field(
        None,
        description=(
            "Of a file here or at an address, the SHA-256 that it must have; of several a list. "
            "null: what the lock file has, else what it has at the first use."
        ),
    )
    allow_pickle: Annotated[bool, base.UnkeyedDefault()] = Field(
        False,
        description=(
            "true: where there are no safetensors, take the weights from pickles "
            "(pytorch_model*.bin), tensors alone; of a repository only with the exact commit in "
            "revision."
        ),
    )


class DownloadParams(base.Params):
    """A source as a node holds it: the digest of a local tree (``form``: `sources.FORM`), a
    repository's commit, or the digests of files at an address."""

    kind: Literal["local", "model", "dataset", "remote"] = Field(
        description=(
            "Whether the source is on this machine, a model or data set on the hub, or at an "
            "address."
        )
    )
    files: dict[str, str] | None = Field(
        None, description="The SHA-256 of each file at an address, by name."
    )
    tree: str | None = Field(None, description="The digest of a local source.")
    form: int | None = Field(None, description="How that digest is made.")
    repo: str | None = Field(None, description="OWNER/NAME on the hub.")
    commit: str | None = Field(None, description="The commit, of 40 hex digits.")
    file: str | None = Field(
        None, description="The one file that is taken. null: all that belong to the model."
    )


class Download(base.Stage):
    """Links the files of a source into an artifact; their bytes are not copied."""

    kind = "download"
    version = 1
    Params = DownloadParams

    @classmethod
    def recipe_params(cls) -> type[DownloadSettings]:
        """A source as recipes write it."""
        return DownloadSettings

    @classmethod
    def makes(cls, params: DownloadSettings) -> str:
        """A single file is a GGUF (or a text); folders and repositories bring safetensors alone."""
        return base.GGUF if names_gguf(params.source) else base.CHECKPOINT

    @classmethod
    def confirm(cls, params: DownloadParams, files: Sequence[FileEntry]) -> None:
        """Raises SourceError if a local tree is not the one that was pinned."""
        digest = content_digest((entry.path, entry.size, entry.sha256) for entry in files)
        for entry in files if params.files else ():
            assert params.files is not None
            if entry.path != model_files.CARD and entry.sha256 != params.files[entry.path]:
                raise SourceError(f"{entry.path}: changed while the run was under way; run again")
        if params.tree is not None and digest != params.tree:
            raise SourceError(
                "the source's files changed while the run was under way; run the command again"
            )

    @classmethod
    def refuse(cls, params: DownloadParams, order: base.Order) -> None:
        """Raises EngineMissingError for a Parquet file that nothing here could read."""
        name = params.file or ""
        if records.kind(name) == records.PARQUET and (problem := records.parquet_missing(name)):
            raise EngineMissingError(problem)

    def run(self, params: DownloadParams, work: base.Work) -> Mapping[str, Json]:
        """Raises SourceError if the source cannot be had, changed since it was pinned, or is not
        what the hub says that it is."""
        notes: list[str] = []
        files = (
            self._local(work, notes)
            if params.kind == "local"
            else _fetched(params, work)
            if params.kind == "remote"
            else _received(params, work, notes)
        )
        if params.kind != "local":  # of one that is here the plan has said so
            notes += claimed_type.notes(files)
        total = sum(path.stat().st_size for path in files)
        place = work.where.get("path", work.where.get("address"))
        work.progress(total, total, "bytes")
        return {
            "size_bytes": total,
            "files": len(files),
            "name": work.where["name"],
            **({"fetched_from": place} if place is not None else {}),
            "notes": [*notes],
        }

    def _local(self, work: base.Work, notes: list[str]) -> list[Path]:
        path = Path(str(work.where["path"]))
        if not path.exists():
            raise SourceError(f"{path}: it was there when the run began, and is gone")
        files = files_of(path)
        root = path.parent if path.is_file() else path
        path = checkpoint_of(path)
        if path.is_dir():
            names = [f.name for f in path.iterdir() if f.suffix in (".safetensors", ".gguf")]
            notes += model_files.passed_over(str(path), names, [file.name for file in files])
        targets = []
        for file in files:
            target = work.out / file.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            if not is_card(file, path):
                # A hard link would change the file's ctime, and have it hashed again.
                target.symlink_to(file) if work.passing else work.link(file, target)
            elif (head := model_files.card_metadata(file)) is not None:
                target.write_bytes(head)
            targets += [target] if target.exists() else []
        return targets


def _fetched(params: DownloadParams, work: base.Work) -> list[Path]:
    """The files of an address in ``work.out``, each with its digest: what of them is here already
    is not fetched again."""
    from qpipe.sources import remote, remote_store

    assert params.files is not None
    source, _ = remote.parse(str(reveal(work.where["url"])))
    folder = Path(str(work.where["partial"]))
    with remote_store.held(folder):
        files = remote_store.fetched(source, folder, params.files, work.digests, work.progress)
        for name, path in files.items():
            target = work.out / name
            target.parent.mkdir(exist_ok=True)
            path.replace(target)
            work.hashed[stamp(target.stat())] = params.files[name]
        remove_tree(folder)
    return [target for name in files if _is_kept(target := work.out / name)]


def _received(params: DownloadParams, work: base.Work, notes: list[str]) -> list[Path]:
    """The files of a repository in ``work.out``, each with the bytes that the hub names; a note
    where nobody says what it named."""
    assert params.repo is not None and params.commit is not None
    source = HubSource(params.repo, params.kind, params.commit, params.file)
    linked = []
    files = {file.path: file for file in hub.fetch(source, work.progress, notes)}
    targets = {
        path: work.out / (path.name if source.one_file else model_files.place(path))
        for path in files
    }
    for target in targets.values():
        target.parent.mkdir(exist_ok=True)
    if unnamed := [file.path.name for file in files.values() if _named(file) is None]:
        notes.append(
            f"{source.label}: {len(unnamed)} of {len(files)} files ({unnamed[0]}, …) could not be "
            "compared with the digests that the hub names: its cache does not keep them here"
        )
    taken = hashing.side_by_side(
        lambda path: _take(files[path], targets[path], work), [*files], threads=work.threads
    )
    for (path, target), problem in zip(targets.items(), taken, strict=True):
        if problem is not None:
            target.unlink()
            problem = _take(_again(source, files[path], problem), target, work)
        if problem is not None:
            digest_check.discard(path)
            raise hub_download.damaged(source, path.name, problem)
        linked.append(target)
    return [file for file in linked if _is_kept(file)]


def _is_kept(file: Path) -> bool:
    """Return whether a file of a repository is kept; a model card is cut to its metadata."""
    if file.name != model_files.CARD:
        return True
    head = model_files.card_metadata(file)
    file.unlink()
    if head is not None:
        file.write_bytes(head)
    return head is not None


def _again(source: HubSource, file: HubFile, problem: str) -> HubFile:
    try:
        return hub.fetch_again(source, file)
    except SourceError as error:
        raise SourceError(
            f"{source.label}: {file.path.name} in the hub's cache was damaged ({problem}) and is "
            f"removed; it could not be fetched again: {error}"
        ) from None


def _named(file: HubFile) -> str | None:
    """The digest that the hub names for a file: in its listing, else by the name in its cache."""
    return file.digest or digest_check.named(file.path)


def _take(file: HubFile, target: Path, work: base.Work) -> str | None:
    """Link a file of the hub's cache; what is wrong with it, or None. It is read once, and not at
    all where it was hashed as it came, or the store knows it."""
    blob, sealed = file.path.stat(), file.sealed
    if sealed is not None and sealed.is_still(blob) and work.digests is not None:
        work.digests.note(stamp(blob), sealed.sha256)  # a clone is a file of its own
    work.link(file.path, target)
    if sealed is not None:
        work.keep(target, sealed)
    linked = stamp(target.stat())
    if sealed is not None and work.hashed.get(linked) == sealed.sha256:
        return None
    sha256, problem = digest_check.digests(target, _named(file), work.hashed.get(linked))
    work.hashed[linked] = sha256
    return problem
