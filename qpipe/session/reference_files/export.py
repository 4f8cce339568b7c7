"""Reference files of what runs have measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from qpipe.core.dropped import recall
from qpipe.core.store import Artifact, ArtifactStore
from qpipe.errors import OutOfSpaceError, QpipeError, StoreError, UsageError
from qpipe.evaluators.reference_file import NAME
from qpipe.evaluators.reference_files import header
from qpipe.evaluators.reference_files.about import FileAbout
from qpipe.evaluators.reference_files.writing import write
from qpipe.evaluators.text.protocols import of_label, prepared
from qpipe.evaluators.text.reference import COLUMNS, Reference
from qpipe.evaluators.text.windows import load, load_documents
from qpipe.machine.filesystem import existing, free_bytes, is_full
from qpipe.report.runs import LATEST, find_run, read_summary
from qpipe.session.reference_files.provenance import Ancestors, about_file
from qpipe.stages.base import REFERENCE_SUFFIX
from qpipe.support.files import is_folder, plain_name
from qpipe.texts.whole import read

_METRIC = "logprobs"

Progress = Callable[[int, int], None]
"""Takes bytes written, and of how many."""


class ExportedReference(NamedTuple):
    """A reference and the file that is made of it: its key, path, bytes, and what it says."""

    key: str
    file: Path
    size: int
    about: FileAbout


class _Chosen(NamedTuple):
    """A reference of the store, opened, with the text that it was measured on."""

    artifact: Artifact
    stored: Reference
    documents: list[str] | None


def export(
    names: Sequence[str],
    *,
    store: Path,
    runs: Path,
    out: Path | None,
    with_text: bool = True,
    by: str | None = None,
    dry_run: bool = False,
    progress: Progress = lambda done, total: None,
) -> list[ExportedReference]:
    """Write a file of each reference that runs, or beginnings of keys, name.

    ``out`` is the file, or a folder for one or several, whose names are then made; None: the
    current folder. With ``dry_run`` nothing is written, and the sizes are what they would be.
    Raises UsageError for a name that is none, or is of no reference, and for a file that is there;
    StoreError for a reference whose bytes are gone; OutOfSpaceError.
    """
    opened = ArtifactStore(store)
    chosen = [_opened(artifact, opened) for artifact in _references(names, opened, runs)]
    exported = [_planned(each, opened, out, with_text, by, several=chosen[1:]) for each in chosen]
    _refuse(exported, dry_run)
    if not dry_run:
        for each, source in zip(exported, chosen, strict=True):
            _write(each, source, progress)
    opened.close()
    return exported


def _references(names: Sequence[str], store: ArtifactStore, runs: Path) -> list[Artifact]:
    """The references that are meant, each once."""
    keys: dict[str, None] = {}
    for name in names:
        keys |= dict.fromkeys(_of_run(name, store, runs) or [_of_key(name, store)])
    return [_there(key, store) for key in keys]


def _of_run(name: str, store: ArtifactStore, runs: Path) -> list[str]:
    """The keys of the references of a run; none where there is no run of that name."""
    if name != LATEST and not is_folder(runs / name) and not is_folder(name):
        return []
    run = find_run(name, runs)
    keys = [
        node["key"]
        for node in read_summary(run).nodes
        if node["key"] and (node.get("params") or {}).get("metric") == _METRIC
    ]
    if not keys:
        raise UsageError(
            f"run {run.root.resolve().name} has no reference with log-probabilities: "
            "evaluate=kld computes and stores them"
        )
    return keys


def _of_key(name: str, store: ArtifactStore) -> str:
    """The key of a reference, by its beginning or by that of a measurement against it."""
    try:
        key = store.find(Path(name).name)
    except StoreError as error:
        raise UsageError(
            f"{name!r} is neither a run nor the beginning of a key: {error}; `qpipe runs` and "
            "`qpipe ls --stage evaluate` list them"
        ) from None
    manifest = _there(key, store).manifest
    if manifest.params.get("metric") == _METRIC:
        return key
    if (of := manifest.inputs.get("reference")) and manifest.params.get("metric") == "kld":
        return of["key"]
    raise UsageError(
        f"{key[:12]} ({manifest.name}) is no reference with log-probabilities; evaluate=kld "
        "computes one (kld_reference in `qpipe ls --stage evaluate`)"
    )


def _there(key: str, store: ArtifactStore) -> Artifact:
    """An artifact whose bytes are there, kept from gc while this process lives."""
    artifact, damage = store.lookup(key)
    if artifact is not None:
        return artifact
    if damage is not None:
        raise StoreError(f"artifact {key[:12]} is damaged: {damage.problem}; run it again")
    why = (
        "its bytes went, as run.keep=results asks"
        if recall(store, key)
        else f"it is not in {store.paths.root}"
    )
    raise StoreError(f"artifact {key[:12]}: {why}; run its recipe again with run.keep=all")


def _opened(artifact: Artifact, store: ArtifactStore) -> _Chosen:
    if (artifact.path / COLUMNS).exists():
        raise UsageError(
            f"{artifact.key[:12]} ({artifact.manifest.name}) was imported itself: its file is "
            f"{artifact.path / NAME}; copy that"
        )
    tokens = _there(artifact.manifest.inputs["tokens"]["key"], store)
    stored = Reference(artifact.path, load(tokens.path))
    return _Chosen(artifact, stored, _documents(tokens, stored, Ancestors(store)))


def _documents(tokens: Artifact, stored: Reference, sources: Ancestors) -> list[str] | None:
    """The text as it was prepared: kept beside the ids, or prepared again."""
    if (kept := load_documents(tokens.path)) is not None:
        return kept
    text = sources.of(tokens.manifest, "text")
    if text is None or not text.path.is_dir() or len(text.manifest.files) != 1:
        return None
    whole = read(text.path / text.manifest.files[0].path)
    protocol = of_label(stored.tokenized.about.protocol)
    return [each.text for each in prepared(protocol, whole.text, whole.rows)]


def _planned(
    chosen: _Chosen,
    store: ArtifactStore,
    out: Path | None,
    with_text: bool,
    by: str | None,
    *,
    several: Sequence[Any],
) -> ExportedReference:
    about = about_file(
        chosen.artifact, chosen.stored, chosen.documents, store=store, carried=with_text, by=by
    )
    folder = out if out is not None and (several or is_folder(out)) else None
    file = (folder or Path()) / _name(about) if folder or out is None else out
    return ExportedReference(chosen.artifact.key, file, header.file_size(about), about)


def _name(about: FileAbout) -> str:
    """The name of a file that was not given one: model, format, text and protocol."""
    protocol, top_k = about.protocol, about.stored.top_k
    words = [
        about.model.name,
        *([about.model.format] if about.model.format else []),
        Path(about.text.name).stem,
        protocol.name,
        *([f"top{top_k}"] if top_k else []),
    ]
    return plain_name("-".join(words), 150) + REFERENCE_SUFFIX


def _refuse(exported: Sequence[ExportedReference], dry_run: bool) -> None:
    """Raise for files that cannot be written, before any is."""
    files = [each.file for each in exported]
    for file in files:
        if not file.name.endswith(REFERENCE_SUFFIX):
            stem = str(file).removesuffix(".safetensors")
            raise UsageError(
                f"{file}: run.reference knows a reference file, and everybody that it is no "
                f"model, by its name: give -o {stem}{REFERENCE_SUFFIX}, or a folder that is there"
            )
        if files.count(file) > 1:
            raise UsageError(f"{file}: two references would be written there; export them apart")
        if file.exists() and not dry_run:
            raise UsageError(f"{file}: is there already; remove it, or give another with -o")
    if not dry_run:
        needed = sum(each.size for each in exported)
        free = min(free_bytes(existing(file.parent)) for file in files)
        if needed > free:
            raise OutOfSpaceError(
                f"{needed:,} bytes are needed and {free:,} are free where {files[0]} would be; "
                "evaluate.top_k=256 stores the likeliest tokens alone"
            )


def _write(each: ExportedReference, source: _Chosen, progress: Progress) -> None:
    try:
        each.file.parent.mkdir(parents=True, exist_ok=True)
        documents = source.documents if each.about.text.carried else None
        write(each.file, each.about, source.stored, documents or [], progress=progress)
    except OSError as error:
        kind: type[QpipeError] = OutOfSpaceError if is_full(error) else StoreError
        raise kind(f"{each.file}: cannot be written ({error.strerror})") from None


def records(exported: Sequence[ExportedReference]) -> Iterator[dict[str, Any]]:
    """Each as JSON."""
    for each in exported:
        yield {
            "key": each.key,
            "file": str(each.file),
            "size_bytes": each.size,
            "about": each.about.model_dump(mode="json"),
        }
