"""About what an engine would make, where its model or its importance matrix is not here yet.

Tensors and their shapes follow from config.json, and the types of a GGUF file from those and from
whether there is an importance matrix at all: so sizes are near, but vocabularies and what a matrix
does not cover are not counted.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qpipe.engines.common import gguf_engine, gguf_mix, unsupported
from qpipe.engines.common.gguf_engine import GgufParams
from qpipe.stages.base import Order, Preview
from qpipe.stages.engine import EngineParams

if TYPE_CHECKING:
    from qpipe.gguf.file_plan import FilePlan
    from qpipe.mix.target import MixTarget

# Tensors that engines for checkpoints leave in the precision of the source.
_WHOLE = ("token_embd.weight", "output.weight")


def of_gguf(params: GgufParams, order: Order) -> Preview | None:
    """The file that quantizing would write, or None where not even config.json is here.

    Raises CheckpointError and RecipeError, as far as config.json and settings tell.
    """
    from qpipe.gguf import quantize

    model = _model(params, order)
    if params.target is not None:
        return _of_target(params, params.target, model)
    if model is None:
        return _by_bits(params, order)
    with_matrix = params.imatrix is not None or "imatrix" in {*order.inputs, *order.coming}
    foreseen = quantize.plan_ahead(model, params.type_request(), has_imatrix=with_matrix)
    return _with_note(_about(foreseen), order)


def _of_target(
    params: GgufParams, target: MixTarget, model: Path | FilePlan | None
) -> Preview | None:
    """About the size that a target allows, of tensors whose losses are not measured yet."""
    from qpipe.gguf import quantize

    if model is None:
        if target.size is None:
            return None
        return Preview({"format": "mix", "size_bytes": target.size}, {}, at_most=True, about=True)
    plan = quantize.read(model) if isinstance(model, Path) else model
    if (size := gguf_mix.room(params, target, plan)) is None:
        return None
    weights = plan.facts["n_weights"]
    size = min(size, plan.facts["file_bytes"])
    facts = {"format": "mix", "size_bytes": size, "weights": weights}
    return Preview(facts | {"bits_per_weight": 8 * size / weights}, {}, at_most=True, about=True)


def of_conversion(outtype: str, order: Order) -> Preview | None:
    """The file in ``outtype`` that converting would write, or None where config.json is not here.

    Raises CheckpointError, as far as config.json tells.
    """
    from qpipe.gguf.convert import foresee
    from qpipe.gguf.types import GGMLType

    config = _config("checkpoint", order)
    if config is None:
        return None
    unsupported.refuse_undequantized(config.parent)
    plan = foresee(config)
    if outtype != "f32":  # of the source nothing is known, and F16 and BF16 are of one size
        return _about(plan)
    wide = [replace(output, type=GGMLType.F32) for output in plan.outputs]
    return _about(replace(plan, file_type="F32", outputs=wide))


def of_checkpoint(params: EngineParams, order: Order) -> Preview | None:
    """The folder that an engine for checkpoints would write; None where the bits of a weight are
    open, or the tensors: of an architecture that qpipe does not know, or without config.json."""
    from qpipe.errors import CheckpointError
    from qpipe.gguf.convert import foresee

    config, bits = _config("model", order), params.bits_per_weight()
    if config is None or bits is None:
        return None
    try:
        plan = foresee(config)
    except CheckpointError:  # it may well do what GGUF cannot
        return None
    counts = {output.name: math.prod(output.shape) for output in plan.outputs}
    whole = sum(
        counts[output.name]
        for output in plan.outputs
        if output.name in _WHOLE or len(output.shape) == 1
    )
    size = whole * _width(config) + (sum(counts.values()) - whole) * bits / 8
    return _with_note(_preview(params.method, size, sum(counts.values()), plan), order)


def of_stream(params: GgufParams, order: Order) -> Preview | None:
    """The file that quantizing a checkpoint by llama.cpp's converter would write: by its tensors
    where qpipe knows the architecture too, else by the number of its weights, or by its bytes where
    it is not here yet."""
    from qpipe.errors import CheckpointError
    from qpipe.gguf import checkpoint, quantize
    from qpipe.gguf.convert import foresee

    config = _config("model", order)
    with_matrix = params.imatrix is not None or "imatrix" in {*order.inputs, *order.coming}
    try:
        if config is not None:
            plan = foresee(config)
            request = params.type_request()
            about = _about(quantize.plan_ahead(plan, request, has_imatrix=with_matrix))
            return _with_note(about, order)
    except CheckpointError:  # the converter may well know it
        if "model" in order.inputs:
            tensors = checkpoint.open_checkpoint(order.inputs["model"]).tensors
            weights = sum(math.prod(tensor.shape) for tensor in tensors.values())
            return _of_weights(params, weights)
    return None if config is None else _by_bytes(params, order, config)


def _by_bytes(params: GgufParams, order: Order, config: Path) -> Preview | None:
    """An estimate by the bytes of a repository, nearly all of which are weights; None for one that
    is quantized, or whose bytes are not known."""
    from qpipe.gguf.config import Config
    from qpipe.hf.quantized import read_settings

    download = order.foreseen.get("model")
    size: Any = None if download is None else download.facts.get("size_bytes")
    fields = Config.read(config.parent).fields
    if not isinstance(size, int) or read_settings(config.parent, fields) is not None:
        return None
    return _of_weights(params, size // _width(config))


def _config(role: str, order: Order) -> Path | None:
    """config.json of the checkpoint in a role, which is here or a repository's."""
    from qpipe.hf.quantized import CONFIG

    config = order.inputs[role] / CONFIG if role in order.inputs else order.configs.get(role)
    return config if config is not None and config.is_file() else None


def _width(config: Path) -> int:
    """Bytes of a weight that is not quantized."""
    from qpipe.gguf.config import Config

    fields = Config.read(config.parent).fields
    return 4 if fields.get("dtype", fields.get("torch_dtype")) == "float32" else 2


def _model(params: GgufParams, order: Order) -> Path | FilePlan | None:
    if "model" in order.inputs:
        return gguf_engine.source(params, order)
    config = order.configs.get("model")
    return None if config is None else gguf_engine.foreseen(params, config)


def _by_bits(params: EngineParams, order: Order) -> Preview | None:
    """An estimate by the number of weights of a model that is foreseen itself."""
    model, bits = order.foreseen.get("model"), params.bits_per_weight()
    weights: Any = None if model is None else model.facts.get("weights")
    if model is None or bits is None or not isinstance(weights, int):
        return None
    return _of_weights(params, weights, n_vocab=model.n_vocab)


def _of_weights(params: EngineParams, weights: int, *, n_vocab: int | None = None) -> Preview:
    bits = params.bits_per_weight()
    assert bits is not None, params
    facts = {"format": getattr(params, "type", params.method), "weights": weights}
    facts |= {"size_bytes": round(weights * bits / 8), "bits_per_weight": bits}
    return Preview(facts, {}, n_vocab=n_vocab, about=True)


def _about(plan: FilePlan) -> Preview:
    facts = plan.facts
    return _preview(facts["file_type"], facts["file_bytes"], facts["n_weights"], plan)


def _with_note(preview: Preview, order: Order) -> Preview:
    """The same with the note on a model that is quantized already."""
    config = _config("model", order)
    settings = None if config is None else unsupported.quantization_settings(config.parent)
    if settings is None:
        return preview
    return replace(preview, facts={**preview.facts, "notes": [settings.note]})


def _preview(kind: str, size: float, weights: int, plan: FilePlan) -> Preview:
    facts = {"format": kind, "size_bytes": round(size), "weights": weights}
    facts |= {"bits_per_weight": 8 * size / weights}
    shapes = {output.name: output.shape for output in plan.outputs}
    embeddings = shapes.get("token_embd.weight")
    return Preview(facts, {}, n_vocab=embeddings[0] if embeddings else None, about=True)
