"""Losses of a checkpoint's modules measured: those that are computed as one at a time in another
form, rounded to the nearest, in a model that stays loaded.

As with tensors of GGUF (`qpipe.mix.measuring`) a group is measured in a few forms alone; what it
loses in the others follows from its errors, weighted by the squares of its inputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qpipe.errors import RecipeError
from qpipe.evaluators.text.interfaces import Nll, Tokens
from qpipe.mix.allocation import Option, allocate
from qpipe.mix.divergences import interval
from qpipe.mix.losses import evenly, losses_of
from qpipe.mix.measuring import Effort, Progress
from qpipe.mix.module_groups import PackedForm, forms, grouped
from qpipe.mix.module_swaps import ModuleSwaps
from qpipe.mix.sensitivity import InType, Rung, Sensitivity, TensorLosses

_RUNGS = 5


@dataclass(frozen=True)
class Candidates:
    """The ``bits`` and ``group_sizes`` to choose from, with zero points or (``sym``) without."""

    bits: Sequence[int]
    group_sizes: Sequence[int]
    sym: bool


def measure(
    checkpoint: Path,
    modules: Mapping[str, tuple[int, int]],
    tokens: Tokens,
    candidates: Candidates,
    effort: Effort,
    *,
    threads: int,
    folder: Path,
    text: str,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
) -> Sensitivity:
    """The sensitivity of ``modules``, with (rows, columns), on windows ``tokens`` [n, n_ctx].

    Raises CheckpointError (the model), DataError (too little text), RecipeError for modules that
    transformers does not have.
    """
    with ModuleSwaps(checkpoint, threads=threads, folder=folder) as swaps:
        _require(swaps, modules)
        groups = grouped(modules)
        choices = {
            name: forms(candidates.bits, candidates.group_sizes, modules[members[0]][1])
            for name, members in groups.items()
        }
        anchored = {name: evenly(own, effort.anchors) for name, own in choices.items()}
        count = sum(map(len, anchored.values()))
        each, check = effort.windows(count, len(tokens))
        chosen = tokens[np.random.default_rng(seed).permutation(len(tokens))[: each + check]]
        swaps.start(chosen)
        total = count * each + _RUNGS * check
        work = _ModuleWork(swaps, modules, groups, candidates.sym, total, progress)
        work.weigh(chosen)
        losses = {
            name: work.losses(name, choices[name], anchored[name], range(each)) for name in groups
        }
        rungs = list(work.ladder(losses, range(each, each + check)))
    return Sensitivity(losses, rungs, text, chosen.size)


def _require(swaps: ModuleSwaps, modules: Mapping[str, tuple[int, int]]) -> None:
    absent = [
        name
        for name, shape in modules.items()
        if name not in swaps.weights or tuple(swaps.weights[name].shape) != shape
    ]
    if absent:
        raise RecipeError(
            f"quantize.target: {len(absent)} of {len(modules)} matrices, such as {absent[0]}, are "
            "none by themselves in transformers, and what they lose cannot be measured: take "
            "quantize=gguf, or leave them alone (quantize.modules={"
            f"{'experts' if '.experts.' in absent[0] else absent[0].rpartition('.')[2]}: skip}})"
        )


class _ModuleWork:
    def __init__(
        self,
        swaps: ModuleSwaps,
        modules: Mapping[str, tuple[int, int]],
        groups: Mapping[str, Sequence[str]],
        sym: bool,
        total: int,
        progress: Progress,
    ) -> None:
        self.swaps, self.modules, self.groups, self.sym = swaps, modules, groups, sym
        self.total, self.done, self.progress = total, 0, progress

    def weigh(self, tokens: Tokens) -> None:
        """Take the squares of the modules' inputs."""
        self.importances = self.swaps.importances([*self.modules], tokens)

    def losses(
        self,
        name: str,
        choices: Sequence[PackedForm],
        anchored: Sequence[PackedForm],
        order: Sequence[int],
    ) -> TensorLosses:
        """The losses of a group: of the anchors measured, else from the errors."""
        errors = self._errors(name, choices)
        measured = {
            form: float(self._kld(dict.fromkeys(self.groups[name], form), order).mean())
            for form in anchored
        }
        klds = losses_of(errors, measured)
        shapes = [self.modules[member] for member in self.groups[name]]
        types = {
            form.name: InType(
                sum(form.nbytes(*shape) for shape in shapes),
                errors[form],
                klds[form],
                form in measured,
            )
            for form in choices
        }
        return TensorLosses((sum(rows for rows, _ in shapes), shapes[0][1]), types)

    def ladder(self, losses: Mapping[str, TensorLosses], order: Sequence[int]) -> Iterator[Rung]:
        """Measure whole mixes, from near the smallest to near the largest."""
        options = [
            [Option(x.bytes, x.kld) for x in each.types.values()] for each in losses.values()
        ]
        least = sum(min(option.size for option in group) for group in options)
        most = sum(max(option.size for option in group) for group in options)
        weights = sum(each.weights for each in losses.values())
        for step in range(_RUNGS):
            share = (step + 0.5) / _RUNGS
            choice = allocate(options, least ** (1 - share) * most**share)
            taken = [group[at] for group, at in zip(options, choice, strict=True)]
            swapped = {
                member: PackedForm.named([*each.types][at])
                for (name, each), at in zip(losses.items(), choice, strict=True)
                for member in self.groups[name]
            }
            kld, half = interval(self._kld(swapped, order))
            size, expected = sum(x.size for x in taken), sum(x.loss for x in taken)
            yield Rung(8 * size / weights, expected, kld, half)

    def _errors(self, name: str, choices: Sequence[PackedForm]) -> dict[PackedForm, float]:
        """The squared error of a group in each form over its sum of squares, both weighted."""
        sums, squares = [0.0] * len(choices), 0.0
        for member in self.groups[name]:
            importance = self.importances.get(member)
            errors, own = self.swaps.errors(member, choices, importance, sym=self.sym)
            sums = [a + b for a, b in zip(sums, errors, strict=True)]
            squares += own
        return {
            form: error / squares if squares else 0.0
            for form, error in zip(choices, sums, strict=True)
        }

    def _kld(self, swapped: Mapping[str, PackedForm], order: Sequence[int]) -> Nll:
        values = self.swaps.kld(swapped, order, sym=self.sym)
        self.done += len(order)
        self.progress(self.done, self.total)
        return values
