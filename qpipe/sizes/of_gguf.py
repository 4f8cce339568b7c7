"""GGUF files: every tensor has the type that quantizing would give it."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from qpipe.errors import CheckpointError, RecipeError
from qpipe.gguf import convert, mixture, quantize, stream
from qpipe.gguf.file_plan import FilePlan
from qpipe.gguf.like import LikeFile
from qpipe.gguf.mixture import TypeRequest
from qpipe.gguf.types import FLOATS, GGMLType
from qpipe.sizes import converter
from qpipe.sizes.predicted import PredictedSize
from qpipe.sizes.settings import Settings
from qpipe.sizes.source import ModelSource
from qpipe.sizes.vocabulary import Vocabulary
from qpipe.support.files import expanded

_MOST = 64
_FLOATS = ("f32", "f16", "bf16")
_LARGEST = 1 << 58  # weights: a file's offsets have 64 bits
_kept: OrderedDict[str, _Whole] = OrderedDict()


def predicted(source: ModelSource, settings: Settings, vocabulary: Vocabulary) -> PredictedSize:
    """The file that quantizing would write. Raises CheckpointError and RecipeError."""
    return _quantized(_in_half(source, settings, vocabulary), settings)


def of_file(file: Path, settings: Settings) -> PredictedSize:
    """The file that quantizing the source of a GGUF ``file`` would write, by its header: as it is
    where that is the type that it has. Raises CheckpointError and RecipeError."""
    read = quantize.read(expanded(str(file)))
    tensors = sum(stream.padded(output.nbytes) for output in read.outputs)
    whole = _Whole(read, stream.size(read.metadata, read.outputs) - tensors, ())
    if settings.method == "none":
        return _floats(_in_floats(whole), settings.text("via", "f16", choices=_FLOATS))
    if _request(settings).ftype.name == read.file_type:
        return _sized(whole, read.file_type, read.types, (f"{file}: as it is",))
    return _quantized(_in_floats(whole), settings)


def _in_floats(whole: _Whole) -> _Whole:
    """A file with F16 for all that is quantized in it."""
    outputs = [
        output if output.type in FLOATS else replace(output, type=GGMLType.F16)
        for output in whole.plan.outputs
    ]
    return replace(whole, plan=replace(whole.plan, file_type="F16", outputs=outputs))


def _quantized(whole: _Whole, settings: Settings) -> PredictedSize:
    request = _request(settings)
    notes: list[str] = []
    has_imatrix = settings.fields.get("imatrix") not in (None, False)
    types = quantize.types_ahead(whole.plan, request, has_imatrix=has_imatrix)
    first = None if has_imatrix else mixture.first_in_need(types, request.ftype)
    if first is not None:
        types = quantize.types_ahead(whole.plan, request, has_imatrix=True)
        notes.append(
            f"{request.ftype.name} is made with an importance matrix alone ({first}): one is "
            "assumed"
        )
    return _sized(whole, request.ftype.name, types, [*notes, *whole.plan.notes])


def unquantized(source: ModelSource, settings: Settings, vocabulary: Vocabulary) -> PredictedSize:
    """The file in the precision ``via``. Raises CheckpointError and RecipeError."""
    via = settings.text("via", "f16", choices=(*_FLOATS, "source", "auto"))
    via = "f16" if via == "auto" else via
    if via == "source":
        via = {4: "f32", 2: "bf16" if source.dtype == "bfloat16" else "f16"}[source.width]
    return _floats(_in_half(source, settings, vocabulary), via)


def _floats(whole: _Whole, via: str) -> PredictedSize:
    """The file with ``via`` for all that is in half precision."""
    kind, halves = GGMLType[via.upper()], (GGMLType.F16, GGMLType.BF16)
    types = {name: kind if of in halves else of for name, of in whole.plan.types.items()}
    return _sized(whole, kind.name, types, whole.plan.notes)


@dataclass(frozen=True)
class _Whole:
    """A file in F16. Its ``header``, all that stands in front of tensors, takes as many bytes
    whatever their types; ``notes`` tell what of it is assumed."""

    plan: FilePlan
    header: int
    notes: tuple[str, ...]

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, int]]:
        """Rows and columns of each tensor."""
        return {o.name: (math.prod(o.shape[:-1]), o.shape[-1]) for o in self.plan.outputs}

    @cached_property
    def weights(self) -> int:
        """The elements of all tensors."""
        return sum(rows * columns for rows, columns in self.shapes.values())


def _sized(
    whole: _Whole, file_type: str, types: Mapping[str, GGMLType], notes: Iterable[str]
) -> PredictedSize:
    """The size of the ``whole`` model with tensors of these ``types``."""
    sizes = {}
    for name, kind in types.items():
        rows, columns = whole.shapes[name]
        sizes[name] = rows * kind.row_bytes(columns)
    return PredictedSize(
        file_type,
        file_bytes=whole.header + sum(map(stream.padded, sizes.values())),
        tensor_bytes=sum(sizes.values()),
        weights=whole.weights,
        notes=(*whole.notes, *notes),
        tensors=sizes,
        kinds=types,
    )


def _in_half(source: ModelSource, settings: Settings, vocabulary: Vocabulary) -> _Whole:
    """The model in F16; the last few are kept, for each is asked about in many types."""
    name, pretokenizer = (settings.fields.get(field) for field in ("name", "pretokenizer"))
    key = f"{source.identity} {vocabulary.identity} {name} {pretokenizer}"
    if key not in _kept:
        while len(_kept) >= _MOST:
            _kept.popitem(last=False)
        _kept[key] = _foreseen(source, vocabulary, name, pretokenizer)
    return _kept[key]


def _foreseen(
    source: ModelSource, vocabulary: Vocabulary, name: str | None, pretokenizer: str | None
) -> _Whole:
    converted = converter.foreseen(source.config)
    if vocabulary.folder is not None and converted is None:
        plan = convert.prepare_unwritten(
            source.config,
            vocabulary.folder,
            settings=source.settings,
            name=name,
            pretokenizer=pretokenizer,
        )
        return _Whole(plan, _header(source, plan), ())
    plan = converted or convert.foresee_config(source.config, source.settings)
    rows = next(o.shape[0] for o in plan.outputs if o.name == "token_embd.weight")
    size, note = vocabulary.assumed(rows, str(source.config.fields.get("model_type")))
    return _Whole(plan, size + _header(source, plan), (note,))


def _header(source: ModelSource, plan: FilePlan) -> int:
    total = sum(math.prod(output.shape) for output in plan.outputs)
    if total > _LARGEST:
        raise CheckpointError(
            f"{source.config.path}: a model of {total:.1e} weights is none: a size is wrong"
        )
    return len(stream.header(plan.metadata, plan.outputs))


def _request(settings: Settings) -> TypeRequest:
    if settings.fields.get("target") is not None:
        raise RecipeError(
            "quantize.target: which types a mix has hangs on what its tensors lose, which a run "
            "measures (the stage sensitivity), so its size is known then; it is within the target"
        )
    like = settings.fields.get("like")
    file = None if like is None else _like(like)
    kind = settings.text("type", "Q8_0" if file is None else file.file_type)
    return TypeRequest.of(
        kind,
        tensor_types=_rules(settings),
        pure=settings.flag("pure"),
        output_tensor_type=settings.fields.get("output_tensor_type"),
        token_embedding_type=settings.fields.get("token_embedding_type"),
        like=file,
    )


def _like(value: Any) -> LikeFile:
    if isinstance(value, Mapping):
        return LikeFile.from_json(value)
    return LikeFile.read(Path(value).expanduser())


def _rules(settings: Settings) -> dict[str, str]:
    """{pattern: type}, given so or as pairs."""
    rules = settings.fields.get("tensor_types") or {}
    try:
        return {str(pattern): str(kind) for pattern, kind in dict(rules).items()}
    except (TypeError, ValueError):
        raise RecipeError(
            f"quantize.tensor_types is {rules!r:.80}, not {{REGEX: TYPE}} or pairs of both"
        ) from None
