"""Which tensors an importance matrix weighs, which cannot do without it, and which it leaves out.

Source: llama.cpp, src/llama-quant.cpp, llama_model_quantize_impl.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from qpipe import errors
from qpipe.gguf import ggml, mixture, types
from qpipe.gguf.categories import Category, category_of
from qpipe.gguf.chunks import Output
from qpipe.gguf.ftypes import FileType
from qpipe.gguf.imatrix import IMatrix
from qpipe.gguf.types import GGMLType

# Written in one way, whatever the weights (ggml-quants.c, quantize_* with quant_weights unused).
_INDIFFERENT = (
    *types.FLOATS,
    *(GGMLType.Q8_0, GGMLType.TQ1_0, GGMLType.TQ2_0),
    *(GGMLType.MXFP4, GGMLType.NVFP4, GGMLType.Q1_0),
)


def weighted(outputs: Sequence[Output], weights: IMatrix | None, ftype: FileType) -> list[Output]:
    """``outputs`` with the weights of each; ``ftype`` is the file's.

    Raises `RecipeError` or `DataError` for a tensor whose type needs weights that are not there,
    `DataError` where the matrix fits another model.
    """
    found = [_weighted(output, weights, ftype) for output in outputs]
    heard = [output for output in found if _listens(output)]
    if weights is not None and heard and all(output.imatrix is None for output in heard):
        raise errors.DataError(
            f"{weights.path}: no entry for any of the {len(heard)} tensors to be quantized, such "
            f"as {heard[0].name!r}; the importance matrix is another model's: make it anew"
        )
    return found


def notes(outputs: Sequence[Output], weights: IMatrix) -> tuple[str, ...]:
    """What ``weights`` does not tell of tensors that would use it, by name."""
    heard = [output for output in outputs if _listens(output)]
    bare = [output.name for output in heard if output.imatrix is None]
    found = []
    if bare:
        found.append(
            f"imatrix: {len(bare)} of {len(heard)} tensors have no entry and were quantized "
            f"without: {', '.join(bare)}"
        )
    for output in heard:
        if output.imatrix is not None and output.name in weights.unseen:
            unseen = weights.unseen[output.name]
            found.append(
                f"imatrix: no calibration token reached {len(unseen)} of "
                f"{len(output.imatrix)} matrices of {output.name}, which weigh all columns alike: "
                f"{', '.join(map(str, unseen))}"
            )
    return tuple(found)


def _listens(output: Output) -> bool:
    """Embeddings are left out: no importance matrix knows them."""
    written = output.rows.type != output.type and output.type not in _INDIFFERENT
    return written and category_of(output.name) is not Category.EMBEDDING


def _weighted(output: Output, weights: IMatrix | None, ftype: FileType) -> Output:
    if output.type in types.FLOATS or output.rows.type == output.type:
        return output
    found = None if weights is None else weights.of(output.name, output.shape)
    needed = mixture.needs_imatrix(output.name, output.type, ftype)
    if found is None and (needed or output.type in ggml.NEED_IMATRIX):
        if weights is None:
            raise errors.RecipeError(
                f"{ftype.name} makes tensor {output.name!r} {output.type.name}, which is garbage "
                "without an importance matrix: name one as quantize.imatrix, or choose another type"
            )
        raise errors.DataError(
            f"{weights.path}: no entry for tensor {output.name!r}, which {ftype.name} makes "
            f"{output.type.name}: make the importance matrix anew, with more text, or choose "
            "another type"
        )
    return replace(output, imatrix=found)
