"""Published GGUF files: found, brought here, read; and the importance matrices that they note."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from qpipe.errors import CheckpointError, DataError, SourceError
from qpipe.gguf import split
from qpipe.gguf.attest.contest import noted_imatrix
from qpipe.gguf.reader import GGUFFile
from qpipe.session.plans import unlocked_pinner
from qpipe.sources import hub
from qpipe.sources.hub_source import HubSource, hub_source
from qpipe.sources.model_files import gguf_models
from qpipe.support.files import exists, expanded, is_file, is_folder

if TYPE_CHECKING:
    from qpipe.gguf.imatrix import IMatrix


@dataclass(frozen=True)
class PublishedFile:
    """A GGUF model by the name that was given, its first file, the repository that it is in (None:
    a local one), and what was read: its header, or the ``problem`` with it."""

    name: str
    path: Path
    hub: HubSource | None
    header: GGUFFile | None = None
    problem: CheckpointError | None = None

    @property
    def parts(self) -> list[Path]:
        """Its files, in order."""
        if self.header is None:
            return [self.path]
        found = dict.fromkeys(t.path or self.header.path for t in self.header.tensors.values())
        return [*dict.fromkeys([self.header.path, *found])]


def read(names: Sequence[str], store: Path) -> list[PublishedFile]:
    """Find the files, of a folder all GGUF models in it, and read their headers; several parts of
    one model are one. Raises SourceError for what is not there."""
    files: dict[Path, PublishedFile] = {}
    for name in names:
        for file in _located(name, store):
            files.setdefault(_first_part(file.path).resolve(), file)
    return [_with_header(file) for file in files.values()]


def _located(name: str, store: Path) -> Iterable[PublishedFile]:
    if not name:
        raise SourceError("'' is no file: give a GGUF file, a folder of such, or OWNER/NAME@COMMIT")
    path = expanded(name)
    if is_folder(path):
        models = gguf_models([one.name for one in path.iterdir() if is_file(one)])
        if not models:
            raise SourceError(f"{name}: this folder holds no GGUF file")
        return [PublishedFile(str(path / model), path / model, None) for model in models]
    if exists(path):
        return [PublishedFile(name, path, None)]
    source = hub_source(unlocked_pinner(store).pin(name, None).params)
    if source is None or source.one_file is None:
        raise SourceError(
            f"{name}: a repository and no file of it; name one, as OWNER/NAME@COMMIT/FILE.gguf or "
            "OWNER/NAME@COMMIT:Q4_K_M"
        )
    return [PublishedFile(name, hub.fetch(source)[0].path, source)]


def _first_part(path: Path) -> Path:
    part = split.named(path.name)
    return path if part is None else path.with_name(part.all_names()[0])


def _with_header(file: PublishedFile) -> PublishedFile:
    try:
        header = split.read(file.path, any_type=True)
        if "general.architecture" not in header.metadata:
            raise CheckpointError(
                f"{file.path}: a GGUF file, but no model: it has no general.architecture"
            )
        return replace(file, header=header)
    except CheckpointError as error:
        return replace(file, problem=error)


@dataclass
class Imatrices:
    """Importance matrices: the one that was ``given``, or those that files note by name, looked for
    beside each file, in the folders ``beside``, and in the file's repository."""

    given: Path | None
    beside: Sequence[Path]
    _read: dict[Path, IMatrix] = field(default_factory=dict)

    def of(self, file: PublishedFile) -> tuple[IMatrix | None, str | None]:
        """The importance matrix for a file, or why there is none though it notes one. Raises
        DataError for the one that was given, where that cannot be read."""
        assert file.header is not None
        if self.given is not None:
            return self._opened(self.given), None
        noted = noted_imatrix(file.header)
        if noted is None:
            return None, None
        name = PurePosixPath(noted.replace("\\", "/")).name
        if (path := self._path(file, name)) is None:
            return None, f"{name} is neither beside it nor in its source's folder"
        try:
            return self._opened(path), None
        except (DataError, CheckpointError) as error:
            return None, str(error)

    def _opened(self, path: Path) -> IMatrix:
        from qpipe.gguf import imatrix

        if path not in self._read:
            self._read[path] = imatrix.read(path)
        return self._read[path]

    def _path(self, file: PublishedFile, name: str) -> Path | None:
        if name in ("", ".", ".."):
            return None
        for folder in (file.path.parent, *self.beside):
            if is_file(folder / name):
                return folder / name
        if (exported := _exported_imatrix(file.path)) is not None:
            return exported
        if file.hub is None or file.hub.file is None:
            return None
        inside = str(PurePosixPath(file.hub.file).with_name(name))
        try:
            return hub.fetch(replace(file.hub, file=inside))[0].path
        except SourceError:
            return None


def _exported_imatrix(file: Path) -> Path | None:
    """The importance matrix that `qpipe export` put beside a model, under a name of its own:
    MODEL-imatrix.gguf beside MODEL-Q4_K_M.gguf; None where there are several."""
    names = [path for path in file.parent.glob("*-imatrix*") if path.suffix in (".gguf", ".dat")]
    own = [path for path in names if file.name.startswith(path.name.rpartition("imatrix")[0])]
    return own[0] if len(own) == 1 and own[0].stem.endswith("-imatrix") else None
