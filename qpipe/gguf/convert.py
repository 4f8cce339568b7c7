"""A Hugging Face checkpoint → one GGUF file in F32, F16 or BF16."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from qpipe import errors
from qpipe.gguf import (
    arch,
    checkpoint,
    ftypes,
    general_metadata,
    jsonfile,
    stream,
    tensor_names,
    values,
    vocab,
)
from qpipe.gguf.arch import views
from qpipe.gguf.arch.base import Architecture, Entry, Part, Stack
from qpipe.gguf.arch.dims import Dims
from qpipe.gguf.checkpoint import Checkpoint
from qpipe.gguf.chunks import OutputTensor
from qpipe.gguf.config import Config
from qpipe.gguf.config_fields import OTHER_METHODS
from qpipe.gguf.file_plan import Facts, FilePlan
from qpipe.gguf.rows import ArrayRows, SafetensorsRows, StackedRows, ZeroRows
from qpipe.gguf.safetensors import StoredTensor, same
from qpipe.gguf.types import GGMLType
from qpipe.hf.quantized import QuantizationSettings, read_settings

EMBEDDINGS = "model.embed_tokens.weight"
OUTTYPES = ("F32", "F16", "BF16")
SOURCE = "SOURCE"

# What training leaves in a checkpoint and no model reads (conversion/base.py, prepare_tensors).
_IGNORED = (".attention.masked_bias", ".attention.bias", ".rotary_emb.inv_freq")


def convert(
    source: Path,
    out: Path,
    *,
    outtype: str,
    name: str | None = None,
    pretokenizer: str | None = None,
    threads: int = 1,
    progress: stream.Progress | None = None,
) -> Facts:
    """Write what `prepare` says of the checkpoint in the folder ``source`` to ``out``.

    Rows are converted by ``threads`` threads; the bytes do not depend on them. Raises as
    `prepare`, and `CheckpointError` for weights that are NaN, infinite or too large for
    ``outtype``, `OutOfSpaceError` for a full disk.
    """
    prepared = prepare(source, outtype=outtype, name=name, pretokenizer=pretokenizer)
    return prepared.write(out, threads=threads, progress=progress)


def prepare(
    source: Path | Checkpoint,
    *,
    outtype: str,
    name: str | None = None,
    pretokenizer: str | None = None,
) -> FilePlan:
    """The GGUF of the checkpoint in the folder ``source``, or of one that was opened, from its
    headers alone.

    ``outtype`` is F32, F16, BF16 (norms and biases stay F32), or SOURCE, the checkpoint's own
    (`precision`). From ``name``, a model's name or repository id, ``general.name`` and its kin are
    made: the folder's own by default. ``pretokenizer`` is llama.cpp's name for a BPE tokenizer's
    splitting rule, where that is not recognized.

    Raises `CheckpointError` for a checkpoint that is incomplete, damaged, or of an unsupported
    architecture or tokenizer; `RecipeError` for another ``outtype``.
    """
    opened = source if isinstance(source, Checkpoint) else checkpoint.open_checkpoint(source)
    folder = opened.folder
    ftype = ftypes.file_type(precision(opened) if outtype == SOURCE else outtype)
    if ftype.name not in OUTTYPES:
        raise errors.RecipeError(
            f"outtype {outtype!r} is not one of {', '.join((*OUTTYPES, SOURCE))}"
        )
    architecture = arch.of(opened.config)
    model_class = opened.config.model_class
    config, notes = architecture.completed(opened.config)
    tensors, beside = architecture.named(opened.tensors, config)
    opened = replace(opened, config=config, tensors=tensors)
    architecture = replace(architecture.laid_out(opened.tensors), sampled=opened.sampled)
    dims = architecture.dims(config, opened.tensors)
    packed = None if opened.quantization else read_settings(folder, config.fields)
    if packed is not None:
        raise errors.CheckpointError(packed.refusal)
    outputs = plan(opened, architecture, dims, ftype)
    ftype = _as_kept(outputs) or ftype
    named = name or folder.resolve().name
    described = general_metadata.description(opened, architecture.name, name=named, outputs=outputs)
    key = "general.architecture"
    metadata = {key: described[key]} | architecture.before_all(config, dims) | described
    metadata |= general_metadata.sizes(
        opened.config, architecture, dims
    ) | general_metadata.file_type(ftype)
    metadata |= architecture.after_file_type(opened.config, dims)
    metadata["general.quantization_version"] = values.u32(general_metadata.QUANTIZATION_VERSION)
    metadata |= _tokenizer(opened, architecture, dims, pretokenizer, model_class)
    usual = architecture.after_vocabulary(opened.config, dims)
    metadata |= {key: value for key, value in usual.items() if key not in metadata}
    notes += (*beside, *vocab.notes(folder, metadata), *_quantized_note(opened))
    return FilePlan(architecture.name, ftype.name, metadata, outputs, notes)


def _as_kept(outputs: Sequence[OutputTensor]) -> ftypes.FileType | None:
    """The type of a file whose experts stay what they are, as the converter names it."""
    published = any(output.type is GGMLType.MXFP4 for output in outputs)
    return ftypes.file_type("MXFP4_MOE") if published else None


def _published(opened: Checkpoint, outputs: Sequence[OutputTensor]) -> list[OutputTensor]:
    """The tensors as they will be where experts are published in MXFP4."""
    if opened.quantization is None or opened.quantization.method != "mxfp4":
        return [*outputs]
    experts = [output for output in outputs if output.name.endswith("_exps.weight")]
    for output in experts:
        if not GGMLType.MXFP4.fits(output.shape[-1]):
            raise errors.CheckpointError(
                f"{opened.config.path}: experts in MXFP4 lie in blocks of 32, and {output.name} "
                f"has rows of {output.shape[-1]}: a size there is wrong"
            )
    kept = {output.name for output in experts}
    return [
        replace(output, type=GGMLType.MXFP4) if output.name in kept else output
        for output in outputs
    ]


def _quantized_note(opened: Checkpoint) -> tuple[str, ...]:
    return () if opened.quantization is None else (opened.quantization.note,)


def foresee(config: Path) -> FilePlan:
    """The GGUF in F16 of a checkpoint of which ``config``, its config.json, alone is here: its
    tensors and its sizes, of the rest of the metadata the architecture. One that is quantized is
    taken for what it stands for.

    Raises `CheckpointError` as `prepare`, as far as config.json tells.
    """
    stored = Config.read(config.parent)
    return foresee_config(stored, read_settings(config.parent, stored.fields))


def foresee_config(stored: Config, settings: QuantizationSettings | None = None) -> FilePlan:
    """`foresee` of a config wherever it is from; ``settings`` say how its weights are quantized,
    if they are. Raises `CheckpointError`."""
    architecture = arch.of(stored)
    full, notes = architecture.completed(stored)
    architecture = replace(architecture.laid_out(()), sampled=True)
    dims = architecture.dims(full)
    opened = _unwritten(stored.path.parent, full, architecture, dims, settings)
    ftype = ftypes.file_type("F16")
    notes += _quantized_note(opened)
    metadata = general_metadata.without_tensors(full, architecture, dims)
    outputs = _published(opened, plan(opened, architecture, dims, ftype))
    ftype = _as_kept(outputs) or ftype
    return FilePlan(architecture.name, ftype.name, metadata, outputs, notes)


def foresee_metadata(stored: Config) -> values.Metadata:
    """The architecture and the hyperparameters that a file of this config has, and no tensor: a
    millisecond's work. Raises `CheckpointError`."""
    architecture = arch.of(stored)
    full, _ = architecture.completed(stored)
    return general_metadata.without_tensors(full, architecture, architecture.dims(full))


def prepare_unwritten(
    stored: Config,
    folder: Path,
    *,
    settings: QuantizationSettings | None = None,
    name: str | None = None,
    pretokenizer: str | None = None,
) -> FilePlan:
    """`prepare` in F16 for a checkpoint whose weights are not here: its tensors are those that the
    config ``stored`` asks for, its tokenizer is in ``folder``. Raises `CheckpointError`."""
    architecture = arch.of(stored)
    full, _ = architecture.completed(stored)
    architecture = replace(architecture.laid_out(()), sampled=True)
    opened = _unwritten(folder, full, architecture, architecture.dims(full), settings)
    opened = replace(opened, config=stored)
    whole = prepare(opened, outtype="F16", name=name, pretokenizer=pretokenizer)
    outputs = _published(opened, whole.outputs)
    ftype = _as_kept(outputs)
    return replace(whole, outputs=outputs, file_type=ftype.name if ftype else whole.file_type)


def _unwritten(
    folder: Path,
    config: Config,
    architecture: Architecture,
    dims: Dims,
    settings: QuantizationSettings | None = None,
) -> Checkpoint:
    """A checkpoint with the tensors that a completed ``config`` asks for, which lie nowhere: as a
    ``sampled`` architecture has them, of experts the first alone."""
    tensors = {
        name: StoredTensor(config.path, name, "F16", entry.shape, offset=0, nbytes=0)
        for name, entry in architecture.expected(dims, config)
        if is_published(entry)
    }
    return Checkpoint(folder, config, tensors, settings, sampled=architecture.sampled)


def is_published(entry: Entry) -> bool:
    """True of a tensor that checkpoints have: all that they must, and the copies of embeddings and
    head in layers that predict further tokens, which transformers alone does not save (GLM-4.5)."""
    return not entry.spec.optional or (entry.spec.name or "").startswith("nextn.")


def precision(opened: Checkpoint) -> str:
    """The dtype of the checkpoint's largest matrix, which `plan` checks like all others."""
    matrices = [tensor for tensor in opened.tensors.values() if len(tensor.shape) > 1]
    dtype = max(matrices, key=lambda tensor: tensor.nbytes).dtype if matrices else ""
    return dtype if dtype in OUTTYPES else OUTTYPES[0]


def plan(
    opened: Checkpoint, architecture: Architecture, dims: Dims, ftype: ftypes.FileType
) -> list[OutputTensor]:
    """The tensors to write, in the checkpoint's order.

    Raises `CheckpointError` for a tensor that is missing, unexpected or of a shape or dtype that
    the config does not allow.
    """
    config = opened.config
    entries: dict[str, Entry] = {}
    for name, entry in architecture.expected(dims, config):  # ends at the first that is missing
        entries[name] = entry
        if not entry.spec.optional and name not in opened.tensors:
            raise errors.CheckpointError(
                f"{opened.folder}: tensor {name!r} is missing, which {config.path.name} "
                f"({architecture.hf_names[0]}, {dims.layers} layers) requires; "
                "download the checkpoint again"
            )
    _check_unread(opened, architecture)
    stored = list(_stored(opened, architecture, dims, entries, ftype))
    implied = _implied(config, architecture, dims)
    stored += _zeros(opened, architecture, dims, entries, ftype)
    stored += _own_head(opened, architecture, stored)
    kept = [output for output in stored if output.rows.type is not None]  # the converter's order
    return kept + implied + [output for output in stored if output.rows.type is None]


def _check_unread(opened: Checkpoint, architecture: Architecture) -> None:
    """Refuse tensors that transformers passes over and llama.cpp reads, or the other way round."""
    for name, tensor in opened.tensors.items():
        spec = architecture.layer.get(name.partition("model.layers.")[2].partition(".")[2])
        if spec is not None and spec.when is not None and not opened.config.flag(spec.when):
            raise opened.config.unfit(
                spec.when,
                f"yet {tensor.origin} is there, which transformers then passes over; correct the "
                "field, or remove the tensor from the checkpoint",
            )
        if name in architecture.skipped and not same(tensor, opened.tensors[EMBEDDINGS]):
            raise errors.CheckpointError(
                f"{tensor.origin} differs from {EMBEDDINGS}, which llama.cpp takes for the head in "
                f"{architecture.name}{OTHER_METHODS}"
            )


def _zeros(
    opened: Checkpoint,
    architecture: Architecture,
    dims: Dims,
    entries: Mapping[str, Entry],
    ftype: ftypes.FileType,
) -> list[OutputTensor]:
    """Tensors that llama.cpp loads without a use for them, where a checkpoint has none."""
    names = tensor_names.TensorNames(architecture.name)
    outputs = []
    for name, entry in entries.items():
        if entry.spec.zeros and entry.spec.optional and name not in opened.tensors:
            gguf_name = names.of(Stack(name, (name,), entry))
            whole = tensor_names.keeps_single_precision(gguf_name, entry.shape)
            kind = GGMLType.F32 if whole else ftype.default
            rows = ZeroRows(f"{opened.folder}: {name}, which is not there", entry.shape[-1])
            outputs.append(OutputTensor(gguf_name, entry.shape, kind, rows))
    return outputs


def _own_head(
    opened: Checkpoint, architecture: Architecture, stored: list[OutputTensor]
) -> list[OutputTensor]:
    """The embeddings once more, where llama.cpp loads no model whose head is tied to them."""
    if not architecture.own_head or "lm_head.weight" in opened.tensors:
        return []
    embeddings = next(output for output in stored if output.name == "token_embd.weight")
    return [replace(embeddings, name="output.weight")]


def _implied(config: Config, architecture: Architecture, dims: Dims) -> list[OutputTensor]:
    """Tensors that the converter computes, in front of the checkpoint's."""
    return [
        OutputTensor(
            name, vector.shape, GGMLType.F32, ArrayRows(f"{config.path}: RoPE factors", vector)
        )
        for name, vector in architecture.tensors(config, dims).items()
    ]


def _stored(
    opened: Checkpoint,
    architecture: Architecture,
    dims: Dims,
    entries: dict[str, Entry],
    ftype: ftypes.FileType,
) -> Iterator[OutputTensor]:
    """Yield the tensors of the checkpoint; those that become one where the last of them lies."""
    names = tensor_names.TensorNames(architecture.name)
    groups = architecture.groups(dims, opened.config)
    group_of = {name: i for i, group in enumerate(groups) for s in group for name in s.names}
    waiting = Counter(group_of.values())
    for name in opened.tensors:
        if name.endswith(_IGNORED) or name in architecture.skipped:
            continue
        group = group_of.get(name)
        if group is None:
            stacks = [Stack(name, (name,), _entry(name, entries, opened))]
        else:
            waiting[group] -= 1
            stacks = [] if waiting[group] else groups[group]
        for stack in stacks:
            for part in stack.entry.spec.parts or (None,):
                rows = [_rows(one, stack.entry, part, opened) for one in stack.names]
                shape = stack.entry.dims.shape(
                    stack.entry.spec.shape if part is None else part.shape
                )
                gguf_name = names.of(stack, part)
                whole = tensor_names.keeps_single_precision(gguf_name, shape)
                kind = rows[0].type or (GGMLType.F32 if whole else ftype.default)
                if group is None:
                    yield OutputTensor(gguf_name, shape, kind, rows[0])
                else:
                    yield OutputTensor(
                        gguf_name, (stack.entry.count, *shape), kind, StackedRows(rows)
                    )


def _entry(name: str, entries: Mapping[str, Entry], opened: Checkpoint) -> Entry:
    if name in entries:
        return entries[name]
    raise errors.CheckpointError(
        f"{opened.tensors[name].origin} does not belong to a model like "
        f"{opened.config.path} describes; check architectures and num_hidden_layers there"
    )


def _rows(name: str, entry: Entry, part: Part | None, opened: Checkpoint) -> SafetensorsRows:
    """The rows of a tensor, which must be as ``entry`` has it, or of a ``part`` of it."""
    tensor, spec, dims = opened.tensors[name], entry.spec, entry.dims
    if tensor.shape != entry.shape:
        raise errors.CheckpointError(
            f"{tensor.origin} has the shape {list(tensor.shape)}, but {opened.config.path} "
            f"makes it {list(entry.shape)} ({' × '.join(spec.shape)}); "
            "they belong to different models: download both again"
        )
    if tensor.dtype not in SafetensorsRows.DTYPES:
        raise errors.CheckpointError(
            f"{tensor.origin} has the dtype {tensor.dtype}; "
            f"{', '.join(SafetensorsRows.DTYPES)} can be converted: "
            "give the checkpoint before quantization"
        )
    view, shape = (spec.view, spec.shape) if part is None else (part.view, part.shape)
    columns = dims.size(shape[-1]) if shape else 1
    if view is views.whole and tensor.shape[-1:] == (columns,):
        return SafetensorsRows(tensor, columns, compute=spec.compute)
    return SafetensorsRows(tensor, columns, lambda stored: view(stored, dims), spec.compute)


def _tokenizer(
    opened: Checkpoint,
    architecture: Architecture,
    dims: Dims,
    pretokenizer: str | None,
    model_class: str,
) -> values.Metadata:
    fields = vocab.metadata(
        opened.folder,
        dims.vocab,
        pretokenizer=pretokenizer,
        added_tokens=architecture.added_tokens,
        model_class=model_class,
    )
    path = opened.folder / "tokenizer_config.json"
    if architecture.space_prefix and path.is_file():
        prefix = jsonfile.load(path).get("add_prefix_space")
        if isinstance(prefix, bool):
            key = {"tokenizer.ggml.add_space_prefix": values.boolean(prefix)}
            return key | fields if architecture.space_prefix == "first" else fields | key
    return fields
