"""Single steps as plain functions, in this process and without a store.

Models are paths: a checkpoint's folder, a GGUF file, or ``builtin:NAME`` of what ships with qpipe.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qpipe.core.layout import MANIFEST
from qpipe.core.manifest import Manifest
from qpipe.core.store import ArtifactStore
from qpipe.errors import CheckpointError, MissingPathError, StoreError, UsageError
from qpipe.machine import gpus
from qpipe.machine.capacity import usable_cores
from qpipe.results.tensors import DETAILS, from_fact
from qpipe.support.files import exists, expanded, is_file, is_folder

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from qpipe.evaluators.text.interfaces import Backend
    from qpipe.gguf.checkpoint import Checkpoint
    from qpipe.gguf.file_plan import FilePlan
    from qpipe.results.measurement import Measurement

Progress = Callable[[int, int], None]
"""Takes how much is done, and of how much: bytes of tensors written, or tokens scored."""


def convert(
    model: str | Path,
    out: str | Path,
    *,
    outtype: str = "f16",
    name: str | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write a checkpoint's folder as one GGUF file in f32, f16, bf16 or its own precision (source).

    ``name`` becomes ``general.name`` (default: the folder's). Raises CheckpointError for a
    checkpoint that is damaged or of an unknown architecture, RecipeError for another ``outtype``,
    UsageError where ``out`` cannot be. What a user should know of the file is warned of.
    """
    from qpipe.gguf.convert import prepare
    from qpipe.packed import source

    path = local_path(model)
    file = _target(out, path)
    opened = source.opened(path)
    return _write(prepare(opened, outtype=outtype.upper(), name=name), file, threads, progress)


def quantize(
    model: str | Path,
    out: str | Path,
    type: str,  # noqa: A002  the recipe's own name
    *,
    imatrix: str | Path | None = None,
    tensor_types: Mapping[str, str] | None = None,
    via: str = "f16",
    allow_requantize: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write a model as GGUF of a llama-quantize type such as Q4_K_M, as llama-quantize writes it.

    A checkpoint's folder is quantized in one pass, ``via`` f16 or its own precision (source); a
    GGUF file in F32, F16 or BF16 as it is. ``tensor_types`` maps regular expressions of tensor
    names to types, ``imatrix`` is an importance matrix file. A checkpoint that is quantized already
    is dequantized first, one of fewer than 8 bits to fewer than 8 bits only if
    ``allow_requantize``. Raises CheckpointError for a model that is damaged, not to be quantized
    again or of an unknown architecture, RecipeError for an unknown type or one that needs an
    importance matrix, DataError for an unusable one, UsageError where ``out`` cannot be. What a
    user should know of the file is warned of.
    """
    from qpipe.gguf import quantize as native
    from qpipe.gguf.bits_estimate import bits
    from qpipe.gguf.convert import prepare
    from qpipe.gguf.mixture import TypeRequest

    path = local_path(model)
    request = TypeRequest.of(type, tensor_types=tensor_types)
    read = _gguf_file(path) or prepare(
        _dequantized(path, bits(request), allow_requantize), outtype=via.upper()
    )
    weights = None if imatrix is None else local_path(imatrix)
    file = _target(out, path, *([] if weights is None else [weights]))
    return _write(native.prepare(read, request, imatrix=weights), file, threads, progress)


def _dequantized(folder: Path, bits: float, allow: bool) -> Checkpoint:
    from qpipe.engines.common import gguf_engine
    from qpipe.packed import source

    gguf_engine.refuse_again(folder, bits, allow=allow)
    return source.opened(folder)


def perplexity(
    model: str | Path,
    text: str | Path,
    *,
    protocol: str = "llamacpp-512",
    n_ctx: int | None = None,
    chunks: int | None = None,
    threads: int | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Measurement:
    """Measure the perplexity of a model on a text file: a GGUF file by llama.cpp, a checkpoint's
    folder by transformers.

    The measurement's one score is ``ppl`` with its standard error; under some protocols it is
    ``word_ppl`` or ``bits_per_byte``. ``n_ctx`` and ``chunks`` depart from the ``protocol``, whose
    label then says so. ``device`` is where a checkpoint is computed, cpu or cuda; auto: on a GPU if
    there is one. Raises EngineMissingError (also for a GPU that torch does not see),
    CheckpointError (the model), DataError (the text or its logits), UsageError for a protocol or a
    device that is not known.
    """
    from qpipe.evaluators.perplexity import measure
    from qpipe.evaluators.text.description import about, measurement, scores_of
    from qpipe.evaluators.text.protocols import protocol as find_protocol
    from qpipe.evaluators.text.windows import tokenize
    from qpipe.texts.whole import read

    cutting = find_protocol(protocol).with_overrides(n_ctx=n_ctx, chunks=chunks)
    file = local_path(text)
    words = read(file)
    with _backend(local_path(model), threads or usable_cores(), device) as backend:
        tokenized = tokenize(words.text, backend, cutting, name=file.name, rows=words.rows)
        measured = measure(backend, tokenized, progress=progress)
        described = about(tokenized, backend)
    scores = [scores_of(tokenized, measured.nll)]
    speed = measured.tokens_per_second
    return measurement(described, scores, measured.seconds, speed, by=backend)


def inspect(path: str | Path, *, store: str | Path | None = None) -> dict[str, Any]:
    """Describe a .gguf or .safetensors file, a checkpoint's folder or ``builtin:NAME``; with a
    ``store`` also the artifact whose key begins with ``path``. No weight is read.

    Keys: ``path, format, architecture, file_type, parameters, tensor_bytes, file_bytes,
    bits_per_weight, context_length, tokenizer, provenance, notes, types, metadata, tensors,
    quantization, made_by``. ``types`` maps a type to its tensors, parameters and bytes; ``tensors``
    lists name, type, shape, bytes and ``error``: ‖q − x‖ ÷ ‖x‖, which the manifest of a GGUF file
    tells, and of a link to it in a run's folder that in the ``store``; ``quantization`` tells of
    packed matrices and ``made_by`` of the stage that made it. What is not known is None. Raises
    CheckpointError for anything damaged or not understood, StoreError for a key that is none or of
    several.
    """
    from qpipe.gguf.inspect import inspect as read

    opened = None if store is None else ArtifactStore(Path(store))
    place = _place(str(path), opened)
    description = _unpacked(place, read(place))
    manifest = _manifest(place) or _manifest_of_link(place, description, opened)
    facts = manifest.facts if isinstance(manifest, Manifest) else {}
    errors = {each.name: each.error for each in from_fact(facts.get(DETAILS))}
    tensors = [{**each, "error": errors.get(each["name"])} for each in description["tensors"]]
    return {**description, "tensors": tensors, "made_by": _made_by(manifest)}


def file_of(path: str | Path, store: str | Path | None) -> Path:
    """Return what `inspect` looks at: a path itself, or the artifact whose key begins so."""
    return _place(str(path), None if store is None else ArtifactStore(Path(store)))


def local_path(source: str | Path) -> Path:
    """Return the path of a file or folder here, or of ``builtin:NAME``. Raises
    MissingPathError."""
    from qpipe.sources.pinning import DATA

    name = str(source)
    builtin = name.startswith("builtin:")
    path = DATA / name.removeprefix("builtin:") if builtin else expanded(name)
    if exists(path):
        return path
    hint = "" if builtin else "; a hub repository is what a recipe takes, as qpipe.load('local', …)"
    raise MissingPathError(f"{name}: no such file or folder{hint}")


def _backend(model: Path, threads: int, device: str) -> AbstractContextManager[Backend]:
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"device={device!r}: it is auto, cpu or cuda")
    file = _gguf_file(model)
    if file is None:
        from qpipe.hf.backend import TransformersBackend

        where = ("cuda" if gpus.visible() else "cpu") if device == "auto" else device
        return TransformersBackend(model, threads=threads, device=where)
    if device == "cuda":
        raise UsageError(
            f"device=cuda: {file.name} is a GGUF file, which llama.cpp computes here on the CPU"
        )
    from qpipe.llamacpp.backend import LlamaCppBackend

    return LlamaCppBackend(file, threads=threads)


def _gguf_file(model: Path) -> Path | None:
    """Return the GGUF file that a path is or holds, the first of its parts; None for a checkpoint.

    Raises CheckpointError for a file of another kind, and for a folder with several models.
    """
    if is_folder(model):
        from qpipe.gguf.split import only_model

        return only_model(model)
    if model.suffix != ".gguf":
        raise CheckpointError(f"{model}: a model is a .gguf file or a checkpoint's folder")
    return model


def _target(out: str | Path, *inputs: Path) -> Path:
    """Return the file to write. Raises UsageError for a folder, and for a file that is read."""
    from qpipe.gguf.split import named

    file = expanded(str(out))
    if is_folder(file):
        raise UsageError(f"{file}: is a folder; give the file to write")
    if not is_folder(file.parent):
        raise UsageError(f"{file}: there is no folder {file.parent}")
    for path in inputs:
        part = named(path.name)
        parts = [] if part is None else [path.with_name(name) for name in part.all_names()]
        read = [*path.iterdir()] if is_folder(path) else [path, *parts]
        if exists(file) and any(exists(one) and file.samefile(one) for one in read):
            raise UsageError(f"{file}: is part of what is read; write to another file")
    return file


def _write(prepared: FilePlan, file: Path, threads: int | None, progress: Progress | None) -> Path:
    from qpipe.llamacpp.opening import require_loadable

    notes = [*prepared.notes]

    def load(written: Path) -> None:
        if note := require_loadable(written):
            notes.append(note)

    try:
        prepared.write(file, threads=threads or usable_cores(), progress=progress, check=load)
    except OSError as error:
        raise UsageError(f"{file}: the file cannot be written there ({error.strerror})") from error
    for note in notes:
        warnings.warn(f"{file}: {note}", stacklevel=3)
    return file


def _place(name: str, store: ArtifactStore | None) -> Path:
    """Return the path that is meant: ``name`` itself, or the artifact whose key begins so."""
    if name.startswith("builtin:"):
        return local_path(name)
    path = expanded(name)
    if store is None or exists(path) or not re.fullmatch(r"[0-9a-f]{4,64}", name):
        return path  # what is not there, `read` says
    return store.paths.artifact(store.find(name))


def _unpacked(path: Path, description: dict[str, Any]) -> dict[str, Any]:
    """Add to a description what the packed matrices stand for."""
    if not is_folder(path) or description["format"] != "safetensors":
        return {**description, "quantization": None}
    from qpipe.packed.inspect import inspect as unpack

    return {**description, **unpack(path)}


def _manifest(path: Path) -> Manifest | str | None:
    """Return the manifest beside a checkpoint, or why it cannot be read; None if there is none."""
    folder = path if is_folder(path) else path.parent
    if not is_file(folder / MANIFEST):
        return None
    try:
        return Manifest.load(folder)
    except (StoreError, OSError) as error:
        return str(error)


def _manifest_of_link(
    path: Path, description: Mapping[str, Any], store: ArtifactStore | None
) -> Manifest | str | None:
    """Return the manifest of the artifact that a GGUF file in a run's folder is a link to, by the
    key that is noted in the file."""
    key = description["provenance"].get("qpipe.key")
    if store is None or not isinstance(key, str) or not re.fullmatch(r"[0-9a-f]{64}", key):
        return None
    folder = store.paths.artifact(key)
    same = (file for file in folder.glob("*.gguf") if file.samefile(path))
    return _manifest(folder) if any(same) else None


def _made_by(manifest: Manifest | str | None) -> dict[str, Any] | None:
    """Return stage, parameters, engine and inputs from the manifest of a checkpoint."""
    if not isinstance(manifest, Manifest):
        return None if manifest is None else {"problem": manifest}
    names = ("key", "stage", "version", "name", "params", "engine", "inputs", "tools", "created")
    return {name: getattr(manifest, name) for name in names}
