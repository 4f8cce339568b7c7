"""`quantize.target`: the file with the types that lose least within it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from qpipe.errors import RecipeError, StageError
from qpipe.stages.base import Order

if TYPE_CHECKING:
    from qpipe.engines.common.gguf_engine import GgufParams
    from qpipe.gguf.file_plan import FilePlan
    from qpipe.gguf.mixture import TypeRequest
    from qpipe.gguf.types import GGMLType
    from qpipe.mix.choosing import FixedParts, Mix
    from qpipe.mix.sensitivity import Sensitivity
    from qpipe.mix.target import MixTarget

SENSITIVITY = "sensitivity"
"""The role of the artifact with the losses."""

# The names that a mix may bear, as llama-quantize and hubs know them.
_NAMES = (
    *("Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K"),
    "Q8_0",
)


def prepared(
    params: GgufParams, target: MixTarget, order: Order, planned: Callable[[TypeRequest], FilePlan]
) -> FilePlan:
    """The file of the mix for a target; ``planned`` says what a file would be.

    Raises RecipeError for a target that no mix keeps.
    """
    from qpipe.mix.choosing import choose
    from qpipe.mix.sensitivity import Sensitivity

    if SENSITIVITY not in order.inputs:
        raise RecipeError(
            "quantize.target needs to know what each tensor loses: wire a stage `sensitivity` to "
            "needs.sensitivity, as quantize=gguf does"
        )
    sensitivity = Sensitivity.load(order.inputs[SENSITIVITY])
    plain = planned(params.type_request())
    mix = choose(sensitivity, target, _file(plain, sensitivity, params.type_request()))
    plan = planned(_request(params, target, mix, plain))
    size = plan.facts["file_bytes"]
    if target.size is not None and size > target.size:
        raise StageError(
            f"quantize.target: the file would be {size:,} bytes and may have {target.size:,}: a "
            "fault of qpipe, which expected no more; ask for a little less"
        )
    return plan


def _file(plain: FilePlan, sensitivity: Sensitivity, request: TypeRequest) -> FixedParts:
    """The parts that no mix changes, by a file of other types."""
    from qpipe.gguf import lattices, stream
    from qpipe.mix.choosing import FixedParts

    known = sensitivity.tensors
    others = [output for output in plain.outputs if output.name not in known]
    # Types that keep a lattice are noted in the metadata, whichever they come to be.
    noted = {**plain.metadata, lattices.NOTED: bytes(8)}
    return FixedParts(
        overhead=len(stream.header(noted, plain.outputs))
        + sum(stream.padded(output.nbytes) for output in others),
        other_bytes=sum(output.nbytes for output in others),
        other_weights=sum(math.prod(output.shape) for output in others),
        pinned={
            output.name: output.type
            for output in plain.outputs
            if output.name in known and request.decides(output.name)
        },
    )


def _request(params: GgufParams, target: MixTarget, mix: Mix, plain: FilePlan) -> TypeRequest:
    """The types of the mix, under the name of the standard one whose size is nearest."""
    from qpipe.gguf.like import LikeFile
    from qpipe.gguf.mixture import TypeRequest

    types = {
        output.name: (mix.types.get(output.name, output.type), output.shape)
        for output in plain.outputs
    }
    name = _nearest({name: kind for name, (kind, _) in types.items()}, plain)
    return TypeRequest.of(
        name,
        tensor_types=params.tensor_types,
        output_tensor_type=params.output_tensor_type,
        token_embedding_type=params.token_embedding_type,
        like=LikeFile("the mix", name, types, words=mix.note(target)),
    )


def _nearest(types: Mapping[str, GGMLType], plain: FilePlan) -> str:
    from qpipe.gguf.hyperparameters import Hyperparameters
    from qpipe.gguf.mixture import TypeRequest, forecast

    model = Hyperparameters.of(plain.metadata, plain.types)

    def size(chosen: Mapping[str, GGMLType]) -> int:
        return sum(chosen[output.name].tensor_bytes(output.shape) for output in plain.outputs)

    own = size(types)
    sizes = {
        name: size(forecast(plain.outputs, model, TypeRequest.of(name)).types) for name in _NAMES
    }
    return min(_NAMES, key=lambda name: abs(sizes[name] - own))
