"""What a checkpoint holds, read from its headers alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qpipe import errors
from qpipe.gguf import checkpoint, ftypes, jsonfile, mixture, reader, safetensors, split, values
from qpipe.gguf.config import Config
from qpipe.gguf.hyperparameters import Hyperparameters
from qpipe.gguf.reader import GGUFFile
from qpipe.gguf.safetensors import StoredTensor
from qpipe.support.files import exists, is_file, is_folder

HEAD = 8  # elements shown of a longer array

_PROVENANCE = tuple(
    f"general.{key}"
    for key in (
        *("name", "author", "organization", "version", "license", "url"),
        *("repo_url", "quantized_by"),
    )
)
_PROVENANCE_PREFIXES = ("general.source.", "general.base_model.", "qpipe.")


@dataclass(frozen=True)
class TensorSummary:
    """One tensor as it is shown."""

    name: str
    type: str
    shape: list[int]
    bytes: int


def inspect(path: Path) -> dict[str, Any]:
    """Describe ``path``: a .gguf or .safetensors file, or a folder with a checkpoint in it.

    Keys: ``path, format, architecture, file_type, parameters, tensor_bytes, file_bytes,
    bits_per_weight, context_length, tokenizer, provenance, notes, types, metadata, tensors``.
    ``types`` is {type: {tensors, parameters, bytes}}; ``tensors`` lists name, type, shape (GGUF: in
    ggml's order) and bytes; what a format does not tell is None. One of several files of a GGUF
    model is shown by itself, as ``GGUF v3, part 2 of 3``, and their folder as one model. Raises
    `CheckpointError` for anything damaged or not understood, `MissingPathError`.
    """
    if is_folder(path):
        return _folder(path)
    if not exists(path):
        raise errors.MissingPathError(f"{path}: no such file or folder")
    if path.suffix == ".safetensors":
        return _safetensors(path, list(safetensors.read_header(path).values()))
    file = reader.read(path)
    return _gguf(file) if split.place(file) is None else _part(file)


def _folder(folder: Path) -> dict[str, Any]:
    first = split.only_model(folder)
    if first is None:
        return _checkpoint(folder)
    part = split.named(first.name)
    if part is None:
        return inspect(first)
    files = [folder / name for name in part.all_names()]
    shown = _gguf(split.read(first), files)
    return shown | {"path": str(folder), "format": f"{shown['format']}, {len(files)} parts"}


def _part(file: GGUFFile) -> dict[str, Any]:
    """One of several files: only the first has metadata, and none the whole model."""
    number, count = split.place(file) or (0, 0)
    arch = file.metadata.get("general.architecture")
    kind = file.metadata.get("general.file_type")
    whole = {
        "general.architecture": values.string("unknown") if arch is None else arch,
        "general.file_type": values.u32(0) if kind is None else kind,
    }
    shown = _gguf(replace(file, metadata={**file.metadata, **whole}))
    return shown | {
        "format": f"{shown['format']}, part {number} of {count}",
        "architecture": None if arch is None else shown["architecture"],
        "file_type": None if kind is None else shown["file_type"],
        "metadata": {key: _shortened(value) for key, value in file.metadata.items()},
    }


def _gguf(file: GGUFFile, files: Sequence[Path] = ()) -> dict[str, Any]:
    """A file, or the model that it and the other ``files`` are."""
    arch = file.architecture
    entries = [
        TensorSummary(t.name, t.type.name, list(reversed(t.shape)), t.nbytes)
        for t in file.tensors.values()
    ]
    return {
        "path": str(file.path),
        "format": f"GGUF v{file.version}",
        "architecture": arch,
        "file_type": file.file_type,
        **sizes(entries, sum(path.stat().st_size for path in files or (file.path,))),
        "context_length": _count(file, f"{arch}.context_length"),
        "tokenizer": _gguf_tokenizer(file),
        "provenance": {
            key: _shortened(file.metadata[key]) for key in filter(_is_provenance, file.metadata)
        },
        "notes": _notes(file),
        "types": types(entries),
        "metadata": {key: _shortened(value) for key, value in file.metadata.items()},
        "tensors": [vars(entry) for entry in entries],
    }


def _notes(file: GGUFFile) -> list[str]:
    """Notes of types that are not those that the quantization's name stands for."""
    if file.file_type not in ftypes.FILE_TYPES or split.place(file) is not None:
        return []
    ordered = mixture.by_layer(file.tensors.values())
    try:
        model = Hyperparameters.of(file.metadata, file.tensors)
        choice = mixture.forecast(ordered, model, mixture.TypeRequest.of(file.file_type))
    except errors.QpipeError:  # no file of llama-quantize's, so its name tells nothing of types
        return []
    shortfall = choice.shortfall({tensor.name: tensor.type for tensor in ordered})
    return [] if shortfall is None else [shortfall.note()]


def _count(file: GGUFFile, key: str) -> int | None:
    if key not in file.metadata:
        return None
    value = _shortened(file.metadata[key])
    if not isinstance(value, int):
        raise errors.CheckpointError(
            f"{file.path}: metadata {errors.quoted(key)} is {errors.quoted(value)}, no number; "
            "convert the model again"
        )
    return value


def _is_provenance(key: str) -> bool:
    return key in _PROVENANCE or key.startswith(_PROVENANCE_PREFIXES)


def _shortened(encoded: bytes) -> Any:
    count = values.length(encoded)
    if count is None or count <= HEAD:
        return values.decode(encoded)
    kind = values.kind_of(encoded)
    return {"type": kind, "length": count, "head": values.decode(encoded, limit=HEAD)}


def _gguf_tokenizer(file: GGUFFile) -> dict[str, Any] | None:
    prefix = "tokenizer.ggml."
    if f"{prefix}model" not in file.metadata:
        return None
    tokens = file.metadata.get(f"{prefix}tokens")
    scalars = {
        key.removeprefix(prefix): values.decode(value)
        for key, value in file.metadata.items()
        if key.startswith(prefix) and values.length(value) is None
    }
    return {
        **scalars,
        "tokens": values.length(tokens) if tokens else None,
        "chat_template": "tokenizer.chat_template" in file.metadata,
    }


def _checkpoint(folder: Path) -> dict[str, Any]:
    opened = checkpoint.open_checkpoint(folder)
    config = opened.config.fields
    quantization = config.get("quantization_config")
    architectures = config.get("architectures") or [config.get("model_type")]
    if not _are_names(architectures):
        raise opened.config.bad("architectures", "a list of names")
    summary = _safetensors(folder, list(opened.tensors.values()))
    if quantization is not None:  # packed tensors: their elements are no weights
        summary |= {"parameters": None, "bits_per_weight": None}
    method = quantization.get("quant_method") if isinstance(quantization, dict) else None
    return summary | {
        "architecture": architectures[0],
        "file_type": _name(method) or _dtype(opened.config),
        "context_length": _positions(opened.config),
        "tokenizer": _tokenizer(folder),
        "provenance": {
            key: config[key] for key in ("_name_or_path", "transformers_version") if config.get(key)
        },
        "metadata": {key: _cut(value) for key, value in config.items()},
    }


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_name, value))


def _is_name(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _name(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _dtype(config: Config) -> str | None:
    for field in ("dtype", "torch_dtype"):
        if config.has(field):
            if not isinstance(config.fields[field], str):
                raise config.bad(field, "the name of a type")
            return str(config.fields[field])
    return None


def _positions(config: Config) -> int | None:
    value = config.fields.get("max_position_embeddings")
    if value is not None and not (type(value) is int and abs(value) < 1 << 63):
        raise config.bad("max_position_embeddings", "a number of tokens")
    return value


def _cut(value: Any) -> Any:
    if isinstance(value, list) and len(value) > HEAD:
        return {"type": "list", "length": len(value), "head": value[:HEAD]}
    return value


def _tokenizer(folder: Path) -> dict[str, Any] | None:
    files = [n for n in ("tokenizer.model", "tokenizer.json") if is_file(folder / n)]
    if not files:
        return None
    summary: dict[str, Any] = {"files": files}
    if "tokenizer.json" in files:
        model = jsonfile.load(folder / "tokenizer.json").get("model")
        if isinstance(model, dict):
            vocab = model.get("vocab") or ()
            if not isinstance(vocab, (dict, list, tuple)):
                raise errors.CheckpointError(
                    f"{folder / 'tokenizer.json'}: model.vocab is {errors.quoted(vocab)}, "
                    "no list of tokens; download it again"
                )
            summary |= {"model": model.get("type"), "tokens": len(vocab)}
    return summary


def _safetensors(path: Path, tensors: list[StoredTensor]) -> dict[str, Any]:
    entries = [TensorSummary(t.name, t.dtype, list(t.shape), t.nbytes) for t in tensors]
    files = {tensor.path for tensor in tensors} or {path}
    return {
        "path": str(path),
        "format": "safetensors",
        "architecture": None,
        "file_type": None,
        **sizes(entries, sum(file.stat().st_size for file in files)),
        "context_length": None,
        "tokenizer": None,
        "provenance": {},
        "notes": [],
        "types": types(entries),
        "metadata": {},
        "tensors": [vars(entry) for entry in entries],
    }


def sizes(entries: Iterable[TensorSummary], file_bytes: int) -> dict[str, Any]:
    """Weights, bytes, and bits per weight of all tensors together."""
    entries = list(entries)
    parameters = sum(math.prod(entry.shape) for entry in entries)
    tensor_bytes = sum(entry.bytes for entry in entries)
    return {
        "parameters": parameters,
        "tensor_bytes": tensor_bytes,
        "file_bytes": file_bytes,
        "bits_per_weight": tensor_bytes * 8 / parameters if parameters else None,
    }


def types(entries: Iterable[TensorSummary]) -> dict[str, dict[str, int]]:
    """Tensors by type, the type with most bytes first."""
    totals: dict[str, dict[str, int]] = {}
    for entry in entries:
        total = totals.setdefault(entry.type, {"tensors": 0, "parameters": 0, "bytes": 0})
        total["tensors"] += 1
        total["parameters"] += math.prod(entry.shape)
        total["bytes"] += entry.bytes
    return dict(sorted(totals.items(), key=lambda item: (-item[1]["bytes"], item[0])))
