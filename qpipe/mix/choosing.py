"""The types of a GGUF file's tensors that lose least within a target."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from qpipe.gguf.stream import padded
from qpipe.gguf.types import GGMLType
from qpipe.memory import Geometry
from qpipe.mix.budget import Budget, FormCost, MixChoice, Surroundings
from qpipe.mix.running import Running
from qpipe.mix.sensitivity import Sensitivity
from qpipe.mix.target import MixTarget

RUNTIME = "llama.cpp"


@dataclass(frozen=True)
class FixedParts:
    """The parts of a file that no mix changes: ``overhead`` bytes around its matrices, bytes of the
    ``others`` of its tensors, their weights, and the types of ``pinned`` matrices; ``geometry``
    gives the model's, which a target with memory needs."""

    overhead: int
    others: Mapping[str, int]
    other_weights: int
    pinned: Mapping[str, GGMLType]
    geometry: Callable[[], Geometry] | None = None


@dataclass(frozen=True)
class Mix:
    """The types by tensor, and what they come to; ``running`` is what memory was asked for."""

    types: Mapping[str, GGMLType]
    choice: MixChoice
    running: Running | None = None

    def note(self, target: MixTarget) -> str:
        """A sentence on it."""
        return noted(self.choice, target, self.running, "types")


def noted(choice: MixChoice, target: MixTarget, running: Running | None, forms: str) -> str:
    """A sentence on a mix of ``forms``."""
    divergence = (
        f"kld {choice.kld:.3g} ± {choice.half:.1g} in the file, on calibration text that no loss "
        "was measured on"
        if choice.measured
        else f"kld about {choice.kld:.3g} ± {choice.half:.1g} expected; evaluate=kld measures it"
    )
    words = (
        f"a mix of {forms} for {target.words}: {choice.file_bytes:,} bytes, "
        f"{choice.bits_per_weight:.2f} bits per weight, {divergence}"
    )
    if running is not None and choice.memory is not None:
        return f"{words}; {running.note(choice.memory)}"
    return words


def choose(sensitivity: Sensitivity, target: MixTarget, file: FixedParts) -> Mix:
    """Take the mix. Raises RecipeError as `Budget.choose`."""
    budget = budget_of(sensitivity, target, file)
    return mix_of(budget.choose(target), budget)


def mix_of(choice: MixChoice, budget: Budget) -> Mix:
    """The mix of a choice."""
    types = {name: GGMLType[form] for name, form in choice.forms.items()}
    return Mix(types, choice, budget.around.running)


def budget_of(sensitivity: Sensitivity, target: MixTarget, file: FixedParts) -> Budget:
    """All mixes of the tensors whose losses are known. Raises RecipeError for a way to run that
    there is not."""
    groups = {}
    for name, tensor in sensitivity.tensors.items():
        pinned = file.pinned.get(name)
        if pinned is not None:
            known = tensor.types.get(pinned.name)
            losses = {pinned: 0.0 if known is None else known.kld}
        else:
            losses = {GGMLType[kind]: one.kld for kind, one in tensor.types.items()}
        sizes = {kind: kind.tensor_bytes(tensor.shape) for kind in losses}
        groups[name] = {
            kind.name: FormCost(padded(sizes[kind]), sizes[kind], loss)
            for kind, loss in losses.items()
        }
    running = None
    if target.memory is not None:
        assert file.geometry is not None, file
        running = Running.of(file.geometry(), target, runtime=RUNTIME)
    weights = file.other_weights + sum(
        math.prod(tensor.shape) for tensor in sensitivity.tensors.values()
    )
    around = Surroundings(file.overhead, file.others, weights, running)
    return Budget(groups, around, sensitivity.whole)
