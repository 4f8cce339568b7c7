"""Checkpoints in one precision, and as they were published."""

from __future__ import annotations

import math
from collections.abc import Iterator

from qpipe.errors import CheckpointError
from qpipe.packed.cast import DTYPES
from qpipe.sizes import tensors
from qpipe.sizes.layouts import Part
from qpipe.sizes.of_packed import (
    FEW,
    about_header_bytes,
    assumed,
    dtype_of,
    header_bytes,
    nbytes,
)
from qpipe.sizes.predicted import PredictedSize
from qpipe.sizes.settings import Settings
from qpipe.sizes.source import ModelSource
from qpipe.sizes.tensors import CheckpointTensors

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
        return _plain(source, model, kind, as_it_is=wanted == "source")
    size = sum(map(nbytes, entries))
    return PredictedSize(
        label,
        file_bytes=size + header_bytes(entries),
        tensor_bytes=size,
        weights=model.weights,
        notes=(*model.notes, *assumed(source)),
        tensors={name: nbytes((name, kind, shape)) for name, kind, shape in entries},
    )


def _plain(
    source: ModelSource, model: CheckpointTensors, kind: str, *, as_it_is: bool
) -> PredictedSize:
    """Every tensor in one precision."""
    few = model.count <= FEW
    parts = [(each, (each.name, kind, each.shape)) for each in model.alike]
    sizes = {each.label: each.count * nbytes(part) for each, part in parts}
    header = (
        header_bytes((name, kind, shape) for name, shape in model.shapes.items())
        if few
        else about_header_bytes([(e.label, part, e.count, e.letters) for e, part in parts])
    )
    size = sum(sizes.values())
    return PredictedSize(
        _NAMES[kind],
        file_bytes=size + header,
        tensor_bytes=size,
        weights=model.weights,
        notes=(*model.notes, *(assumed(source) if as_it_is else ())),
        tensors=sizes,
    )


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
