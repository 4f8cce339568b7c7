"""Which tensors an importance matrix weighs, which cannot do without it, and which it leaves out.

Source: llama.cpp, src/llama-quant.cpp, llama_model_quantize_impl.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from qpipe import errors
from qpipe.gguf import ggml, mixture, types
from qpipe.gguf.categories import Category, category_of
from qpipe.gguf.chunks import OutputTensor
from qpipe.gguf.ftypes import FileType
from qpipe.gguf.hyperparameters import Hyperparameters
from qpipe.gguf.imatrix import IMatrix
from qpipe.gguf.types import GGMLType

INDIFFERENT = (
    *types.FLOATS,
    *(GGMLType.Q8_0, GGMLType.TQ1_0, GGMLType.TQ2_0),
    *(GGMLType.MXFP4, GGMLType.NVFP4, GGMLType.Q1_0),
)
"""Types that are written in one way, whatever the importances (ggml-quants.c, quantize_* with
quant_weights unused)."""


def weighted(
    outputs: Sequence[OutputTensor], weights: IMatrix | None, ftype: FileType
) -> list[OutputTensor]:
    """``outputs`` with the weights of each; ``ftype`` is the file's.

    Raises `RecipeError` or `DataError` for tensors whose type needs weights that are not there,
    `DataError` where the matrix fits another model.
    """
    tensors = [_weighted(output, weights) for output in outputs]
    missing = [output for output in tensors if output.imatrix is None and _needs(output, ftype)]
    if missing and weights is None:
        others = f" (and {len(missing) - 1} others)" if len(missing) > 1 else ""
        raise errors.RecipeError(
            f"{ftype.name} makes tensor {missing[0].name!r} {missing[0].type.name}{others}, which "
            "is garbage without an importance matrix: name one as quantize.imatrix, or choose "
            "another type"
        )
    relevant = [output for output in tensors if _listens(output)]
    if weights is not None and relevant and all(output.imatrix is None for output in relevant):
        raise errors.DataError(
            f"{weights.path}: no entry for any of the {len(relevant)} tensors to be quantized, "
            f"such as {relevant[0].name!r}; the importance matrix is another model's: make it anew"
        )
    if missing and weights is not None:
        raise _unmeasured(missing, weights, ftype)
    return tensors


def without_importances(
    outputs: Sequence[OutputTensor],
    model: Hyperparameters,
    ftype: FileType,
    weights: IMatrix | None,
) -> dict[str, GGMLType]:
    """Types that need no importance matrix for the layers that predict further tokens, where that
    of each is one that does.

    llama.cpp computes these layers for speculative decoding alone, so that no matrix knows them
    (``weights``, or None where it is not made yet); llama-quantize refuses the model then.
    """
    first = model.layers - model.nextn
    found = {}
    for output in outputs:
        block = re.match(r"blk\.(\d+)\.", output.name)
        beyond = block is not None and int(block[1]) >= first
        known = weights is not None and weights.of(output.name, output.shape) is not None
        if beyond and not known and _needs(output, ftype):
            found[output.name] = _plain(output)
    return found


def notes(outputs: Sequence[OutputTensor], weights: IMatrix) -> tuple[str, ...]:
    """Notes of what ``weights`` lacks for tensors that would use it, by name."""
    relevant = [output for output in outputs if _listens(output)]
    bare = [output.name for output in relevant if output.imatrix is None]
    sentences = []
    if bare:
        sentences.append(
            f"imatrix: {len(bare)} of {len(relevant)} tensors have no entry and were quantized "
            f"without: {', '.join(bare)}"
        )
    for output in relevant:
        if output.imatrix is not None and output.name in weights.unseen:
            unseen = weights.unseen[output.name]
            sentences.append(
                f"imatrix: no calibration token reached {len(unseen)} of "
                f"{len(output.imatrix)} matrices of {output.name}, which weigh all columns alike: "
                f"{', '.join(map(str, unseen))}"
            )
    return tuple(sentences)


def _listens(output: OutputTensor) -> bool:
    """Embeddings are left out: no importance matrix knows them."""
    written = output.rows.type != output.type and output.type not in INDIFFERENT
    return written and category_of(output.name) is not Category.EMBEDDING


def _weighted(output: OutputTensor, weights: IMatrix | None) -> OutputTensor:
    if weights is None or _is_kept(output):
        return output
    return replace(output, imatrix=weights.of(output.name, output.shape))


def _is_kept(output: OutputTensor) -> bool:
    return output.type in types.FLOATS or output.rows.type == output.type


def _needs(output: OutputTensor, ftype: FileType) -> bool:
    """True if the tensor cannot be written without weights."""
    needed = mixture.needs_imatrix(output.name, output.type, ftype)
    return not _is_kept(output) and (needed or output.type in ggml.NEED_IMATRIX)


def _unmeasured(missing: list[OutputTensor], weights: IMatrix, ftype: FileType) -> errors.DataError:
    """Tensors without an entry, which no text gives one: any text meets every matrix that is used.

    Some are never multiplied with, such as attn_k and attn_v of the layers of Gemma 3n that share
    those of others.
    """
    first = missing[0]
    rules = ", ".join(f'["{pattern}", {kind}]' for pattern, kind in _rules(missing).items())
    return errors.DataError(
        f"{weights.path}: no entry for {len(missing)} tensors, such as {first.name!r}, which "
        f"{ftype.name} makes {first.type.name}. If the matrix is this model's, llama.cpp never "
        "multiplies with them, and more text does not help; give them a type that needs none: "
        f"'quantize.tensor_types=[{rules}]'. If it is another model's, make it anew"
    )


def _plain(output: OutputTensor) -> GGMLType:
    """A type that needs no weights."""
    return GGMLType.Q4_K if GGMLType.Q4_K.fits(output.shape[-1]) else GGMLType.Q8_0


def _rules(missing: list[OutputTensor]) -> dict[str, str]:
    """A type for each kind of tensor, as rules without a backslash, which shells would eat."""
    layers: dict[str, list[str]] = {}
    kinds: dict[str, str] = {}
    for output in missing:
        block = re.match(r"blk\.(\d+)\.(.*)", output.name)
        kind = block[2] if block else output.name
        layers.setdefault(kind, []).extend([block[1]] if block else [])
        kinds[kind] = _plain(output).name
    return {
        f"^blk.({'|'.join(numbers)}).{kind}$" if numbers else f"^{kind}$": kinds[kind]
        for kind, numbers in layers.items()
    }
