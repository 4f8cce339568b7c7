"""`quantize.target`: the file with the types that lose least within it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qpipe.errors import RecipeError, StageError
from qpipe.stages.base import Order

if TYPE_CHECKING:
    from qpipe.engines.common.gguf_engine import GgufParams
    from qpipe.gguf.file_plan import FilePlan
    from qpipe.gguf.mixture import TypeRequest
    from qpipe.mix.target import MixTarget

SENSITIVITY = "sensitivity"
"""The role of the artifact with the losses."""

FITTED = "mix"
"""The role of the artifact with the mix whose file was measured to keep a divergence."""


def prepared(
    params: GgufParams, target: MixTarget, order: Order, planned: Callable[[TypeRequest], FilePlan]
) -> FilePlan:
    """The file of the mix for a target; ``planned`` says what a file would be.

    Raises RecipeError for a target that no mix keeps.
    """
    from qpipe.mix.choosing import budget_of, choose
    from qpipe.mix.fitted import FittedMix
    from qpipe.mix.gguf_file import fixed_parts, request_of
    from qpipe.mix.sensitivity import Sensitivity

    if SENSITIVITY not in order.inputs:
        raise RecipeError(
            "quantize.target needs to know what each tensor loses: wire a stage `sensitivity` to "
            "needs.sensitivity, as quantize=gguf does"
        )
    sensitivity = Sensitivity.load(order.inputs[SENSITIVITY])
    plain = planned(params.type_request())
    parts = fixed_parts(plain, sensitivity, params.type_request())
    if FITTED in order.inputs:
        fitted = FittedMix.load(order.inputs[FITTED])
        mix = fitted.within(target, budget_of(sensitivity, target, parts))
    else:
        mix = choose(sensitivity, target, parts)
    request = request_of(mix.types, plain, params.type_request(), words=mix.note(target))
    plan = planned(request)
    size = plan.facts["file_bytes"]
    if target.size is not None and size > target.size:
        raise StageError(
            f"quantize.target: the file would be {size:,} bytes and may have {target.size:,}: a "
            "fault of qpipe, which expected no more; ask for a little less"
        )
    return plan


def room(params: GgufParams, target: MixTarget, model: FilePlan) -> int | None:
    """About the bytes that a target allows a file of the model, of which no loss is known yet;
    None where it bounds the divergence alone. Raises RecipeError for one that no types keep."""
    from qpipe.mix.gguf_file import require_reachable, running_of

    require_reachable(target, model, params.type_request())
    rooms = [] if target.size is None else [target.size]
    if target.bpw is not None:
        rooms.append(round(model.facts["n_weights"] * target.bpw / 8))
    if target.memory is not None:
        running = running_of(model, target)
        rooms.append(running.most - running.around.total)
    return min(rooms) if rooms else None
