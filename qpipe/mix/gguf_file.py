"""A mix in a GGUF file: what of the file no mix changes, and the request for its types."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from qpipe.errors import RecipeError
from qpipe.gguf import ftypes, lattices, stream
from qpipe.gguf.categories import quantizable
from qpipe.gguf.chunks import OutputTensor
from qpipe.gguf.file_plan import FilePlan
from qpipe.gguf.hyperparameters import Hyperparameters
from qpipe.gguf.like import LikeFile
from qpipe.gguf.mixture import TypeRequest, forecast
from qpipe.gguf.types import GGMLType
from qpipe.memory import Geometry
from qpipe.memory.estimate import of_file
from qpipe.mix.choosing import RUNTIME, FixedParts
from qpipe.mix.running import Running
from qpipe.mix.sensitivity import Sensitivity
from qpipe.mix.target import MixTarget

# The smallest type, of rows of whole superblocks and of others.
_SMALLEST = (GGMLType.IQ1_S, GGMLType.Q4_0)

# The names that a mix may bear, as llama-quantize and hubs know them.
_NAMES = (
    *("Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K"),
    "Q8_0",
)


def fixed_parts(plain: FilePlan, sensitivity: Sensitivity, request: TypeRequest) -> FixedParts:
    """The parts that no mix changes, by a file of other types, and the types that ``request``
    itself says."""
    known = sensitivity.tensors
    others = [output for output in plain.outputs if output.name not in known]
    # Types that keep a lattice are noted in the metadata, whichever they come to be.
    noted = {**plain.metadata, lattices.NOTED: bytes(8)}
    return FixedParts(
        overhead=len(stream.header(noted, plain.outputs))
        + sum(stream.padded(output.nbytes) for output in others),
        others={output.name: output.nbytes for output in others},
        other_weights=sum(math.prod(output.shape) for output in others),
        pinned={
            output.name: output.type
            for output in plain.outputs
            if output.name in known and request.decides(output.name)
        },
        geometry=lambda: _geometry(plain),
    )


def running_of(plan: FilePlan, target: MixTarget) -> Running:
    """The run that a target with memory means. Raises RecipeError where weights have no room,
    CheckpointError for a model whose memory is not known."""
    running = Running.of(_geometry(plan), target, runtime=RUNTIME)
    running.require_room()
    return running


def require_reachable(target: MixTarget, plan: FilePlan, request: TypeRequest) -> None:
    """Raise RecipeError for a target below all that types could make of a model, whatever they
    lose: before that is measured."""
    running = None if target.memory is None else running_of(plan, target)
    own = {output.name: output.nbytes for output in plan.outputs}
    least = {output.name: _least(output, plan, request) for output in plan.outputs}
    weights = plan.facts["n_weights"]

    def words(sizes: Mapping[str, int]) -> str:
        size = sum(sizes.values())
        memory = "" if running is None else f", {running.parts(sizes).total:,} bytes of memory"
        return f"{size:,} bytes ({8 * size / weights:.2f} bits per weight{memory})"

    small = sum(least.values())
    below = (target.size is not None and target.size < small) or (
        target.bpw is not None and target.bpw * weights < 8 * small
    )
    if below or (running is not None and running.most < running.parts(least).total):
        raise RecipeError(
            f"quantize.target: {target.words}: no types keep it: in the smallest that there are "
            f"its tensors take {words(least)}, as they are {words(own)}; ask for more, or take a "
            "smaller model" + (", or less context" if running is not None else "")
        )


def _least(output: OutputTensor, plan: FilePlan, request: TypeRequest) -> int:
    """The bytes of a tensor in the smallest type that its rows fit."""
    if not quantizable(output.name, output.shape, arch=plan.architecture):
        return output.nbytes
    if request.decides(output.name):
        return 0  # a type of the recipe's own, which the plan has not yet
    fitting = [kind for kind in _SMALLEST if kind.fits(output.shape[-1])]
    return fitting[0].tensor_bytes(output.shape) if fitting else output.nbytes


def _geometry(plan: FilePlan) -> Geometry:
    return of_file(plan.metadata, {output.name: output.shape for output in plan.outputs})


def request_of(
    types: Mapping[str, GGMLType], plain: FilePlan, request: TypeRequest, *, words: str
) -> TypeRequest:
    """``request`` with the types of a mix, which ``words`` are on, under the name of the standard
    one whose size is nearest."""
    chosen = {
        output.name: (types.get(output.name, output.type), output.shape) for output in plain.outputs
    }
    name = _nearest({name: kind for name, (kind, _) in chosen.items()}, plain)
    like = LikeFile("the mix", name, chosen, words=words)
    return replace(request, ftype=ftypes.file_type(name), like=like)


def _nearest(types: Mapping[str, GGMLType], plain: FilePlan) -> str:
    model = Hyperparameters.of(plain.metadata, plain.types)

    def size(chosen: Mapping[str, GGMLType]) -> int:
        return sum(chosen[output.name].tensor_bytes(output.shape) for output in plain.outputs)

    own = size(types)
    sizes = {
        name: size(forecast(plain.outputs, model, TypeRequest.of(name)).types) for name in _NAMES
    }
    return min(_NAMES, key=lambda name: abs(sizes[name] - own))
