"""Checkpoints in one precision, and as they were published."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from qpipe.errors import CheckpointError
from qpipe.packed.cast import DTYPES
from qpipe.sizes import tensors
from qpipe.sizes.layouts import Part
from qpipe.sizes.of_packed import assumed, dtype_of, header_bytes, nbytes
from qpipe.sizes.predicted import PredictedSize
from qpipe.sizes.settings import Settings
from qpipe.sizes.source import ModelSource
from qpipe.sizes.tensors import CheckpointTensors, labelled

_NAMES = {"F32": "FP32", "F16": "FP16", "BF16": "BF16"}


def predicted(source: ModelSource, settings: Settings) -> PredictedSize:
    """The checkpoint in the precision ``dtype``. Raises CheckpointError and RecipeError."""
    wanted = settings.text("dtype", "source", choices=(*DTYPES, *_SHORT, "source"))
    wanted = _SHORT.get(wanted, wanted)
    model = tensors.of(source)
    method = None if source.settings is None else source.settings.method
    if wanted == "source" and method == "mxfp4":
        entries, label = list(_mxfp4(model)), "MXFP4"
    elif wanted == "source" and source.settings is not None:
        raise CheckpointError(
            f"{source.config.path}: quantized already ({source.settings.words}), and only the size "
            "of what it stands for is known: name the method that made it, such as method=gptq"
        )
    else:
        kind = dtype_of(source) if wanted == "source" else DTYPES[wanted][0]
        entries, label = [(name, kind, shape) for name, shape in model.shapes.items()], _NAMES[kind]
    size = sum(map(nbytes, entries))
    said = assumed(source) if wanted == "source" else ()
    return PredictedSize(
        label,
        file_bytes=size + header_bytes(entries),
        tensor_bytes=size,
        weights=model.weights,
        notes=(*model.notes, *said),
        tensors=_by_label(entries),
    )


def _by_label(entries: Iterable[Part]) -> dict[str, int]:
    """Bytes by name, experts of a layer as one."""
    sizes: dict[str, int] = {}
    for entry in entries:
        name = labelled(entry[0])
        sizes[name] = sizes.get(name, 0) + nbytes(entry)
    return sizes


_SHORT = {"f32": "fp32", "f16": "fp16"}


def _mxfp4(model: CheckpointTensors) -> Iterator[Part]:
    """Experts as OpenAI published them (`qpipe.packed.formats.mxfp4`), all else in BF16."""
    for name, shape in model.shapes.items():
        if len(shape) == 3 and not name.endswith("bias"):
            experts, groups = shape[0], math.prod(shape[1:]) // 32
            yield f"{name}_blocks", "U8", (experts, groups, 16)
            yield f"{name}_scales", "U8", (experts, groups)
        else:
            yield name, "BF16", shape
