"""The files of an export: models under the names that their kind usually has, and what goes along.

Beside GGUF files lie the importance matrix and the towers for images and sound that belong to them,
and the licences of their source, which a checkpoint's folder has in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

from qpipe.core.digests import stamp
from qpipe.core.layout import MANIFEST
from qpipe.core.store import Artifact
from qpipe.errors import UsageError
from qpipe.export.model import ExportedModel
from qpipe.export.names import ExportName, export_names, part_name
from qpipe.export.placing import place
from qpipe.export.target import Export, ExportedFile
from qpipe.support.hashing import Sealed

TERMS = ("LICENSE*", "LICENCE*", "COPYING*", "NOTICE*", "USE_POLICY*")
"""Files with the terms of a model."""

# Parts of which most may be larger than asked for, as of a small model with a large vocabulary.
_FEW = 4


def place_all(export: Export) -> list[ExportedFile]:
    """Place every model, and what goes along with them. Raises OSError, StoreError."""
    names = export_names(export.models, export.name)
    files = [
        file
        for model, name in zip(export.models, names, strict=True)
        for file in place_model(export, model, name)
    ]
    return files + place_beside(export, names)


def place_model(export: Export, model: ExportedModel, name: ExportName) -> list[ExportedFile]:
    """Place a GGUF file, in parts where it is larger than `Export.split_size`, or the parts of one,
    or a checkpoint's folder."""
    if model.gguf is None:
        targets = {
            file: f"{name.stem}/{file.relative_to(model.artifact.path)}" for file in model.files
        }
    else:
        parts = sorted(file for file in model.files if file.suffix == ".gguf")
        if export.split_size is not None and model.gguf.stat().st_size > export.split_size:
            if len(parts) == 1:
                return _split(export, model, name, export.split_size)
            export.note(
                f"{name.stem}: it is in {len(parts)} parts already, of up to "
                f"{max(part.stat().st_size for part in parts):,} bytes, and stays so"
            )
        targets = {
            part: part_name(name.stem, number, len(parts)) for number, part in enumerate(parts, 1)
        }
    return [_placed(export, file, target, model) for file, target in targets.items()]


def _split(export: Export, model: ExportedModel, name: ExportName, most: int) -> list[ExportedFile]:
    """Write a GGUF file in parts of at most so many bytes. Raises UsageError for a size that most
    parts would not keep to."""
    from qpipe.gguf.splitting import Parts

    assert model.gguf is not None
    parts = Parts(model.gguf, most)
    if len(parts.tensors) > _FEW and 2 * len(parts.larger) > len(parts.tensors):
        raise UsageError(
            f"--split-size: of {name.stem} {len(parts.larger)} of {len(parts.tensors)} parts would "
            f"be larger than {most:,} bytes, since no tensor is cut; give more: its largest tensor "
            f"has {max(output.nbytes for part in parts.tensors for output in part):,}"
        )
    if parts.larger:
        export.note(
            f"{name.stem}: {len(parts.larger)} of {len(parts.tensors)} parts are larger than "
            f"{most:,} bytes: no tensor is cut, and the first part has all metadata"
        )

    def sealed(path: Path, seal: Sealed) -> None:
        path.chmod(0o444)
        if seal.is_still(path.stat()):
            export.digests.note(stamp(path.stat()), seal.sha256)

    paths = parts.write(
        lambda number, count: export.folder / part_name(name.stem, number, count),
        sealed=sealed,
        progress=export.progress,
    )
    return [ExportedFile(path.name, model.row.name) for path in paths]


def place_beside(export: Export, names: Sequence[ExportName]) -> list[ExportedFile]:
    """Place what goes along with the GGUF files among the models, each once; note what is gone."""
    files: dict[str, Path] = {}
    gone: dict[str, None] = {}
    several = len({name.model for name in names}) > 1
    for model, name in zip(export.models, names, strict=True):
        if model.gguf is not None:
            for file, target in _beside(model, name, several=several):
                if file.is_file():
                    files[_free(files, target, file)] = file
                else:
                    gone[target] = None
    if gone:
        export.note(
            f"{', '.join(gone)}: would go along, and are gone from the store; run the recipe again "
            "to have them"
        )
    return [_placed(export, file, target) for target, file in files.items()]


def _beside(model: ExportedModel, name: ExportName, *, several: bool) -> Iterator[tuple[Path, str]]:
    if model.imatrix is not None:
        for file in _files(model.imatrix):
            yield file, f"{name.model}-imatrix{file.suffix}"
    for artifact in model.towers:
        kind = str(artifact.manifest.params.get("outtype", "f16"))
        for file in _files(artifact):
            yield file, name.mmproj(kind)
    if model.source is not None:
        for file in _files(model.source):
            if any(fnmatch(file.name, pattern) for pattern in TERMS):
                yield file, f"{name.model}-{file.name}" if several else file.name


def _files(artifact: Artifact) -> list[Path]:
    """The files of an artifact, without the store's manifest."""
    files = [artifact.path / entry.path for entry in artifact.manifest.files]
    return [file for file in files if file.name != MANIFEST]


def _free(files: dict[str, Path], name: str, file: Path) -> str:
    """The name, with a number behind its stem where another file has it."""
    stem, suffix = Path(name).stem, Path(name).suffix
    number = 1
    while files.get(name, file) != file:
        number += 1
        name = f"{stem}-{number}{suffix}"
    return name


def _placed(
    export: Export, file: Path, target: str, model: ExportedModel | None = None
) -> ExportedFile:
    place(file, export.folder / target, export.digests)
    return ExportedFile(target, None if model is None else model.row.name)
