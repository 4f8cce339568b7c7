"""Losses measured: a tensor at a time in another type, in a model that stays loaded.

Each tensor is measured in a few types alone, its anchors; what it loses in the others follows from
their weighted squared errors, along the line through the anchors in logarithms (docs/mix.md says
what that was compared with). Whole mixes are measured on windows of their own then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qpipe.errors import DataError
from qpipe.evaluators.text.interfaces import Nll, Tokens
from qpipe.gguf.chunks import OutputTensor
from qpipe.gguf.imatrix import IMatrix
from qpipe.gguf.types import GGMLType
from qpipe.mix.allocation import Option, allocate
from qpipe.mix.forms import Encoded, forms, possible, quantized, weighted
from qpipe.mix.losses import anchors, losses_of
from qpipe.mix.sensitivity import InType, Rung, Sensitivity, TensorLosses
from qpipe.mix.swaps import Swaps
from qpipe.results.windows import student

Progress = Callable[[int, int], None]
"""Called with (windows done, windows in all)."""

# A swap is measured on so many windows at least, a whole mix on twice that.
_LEAST = 4
_RUNGS = 5


@dataclass(frozen=True)
class Effort:
    """An amount of measuring: ``levels`` times ``samples`` windows in all, each tensor in
    ``anchors`` types."""

    samples: int
    levels: float
    anchors: int

    def windows(self, swaps: int, available: int) -> tuple[int, int]:
        """The windows of each of so many swaps, and those of each whole mix."""
        check = max(2 * _LEAST, min(self.samples // 2, available // 2))
        left = self.levels * self.samples - _RUNGS * check
        each = min(max(_LEAST, int(left // max(1, swaps))), available - check)
        if each < 1:
            raise DataError(
                f"the calibration text has {available} windows, and {2 * _LEAST + _LEAST} are the "
                "least that a mix is measured on: give a longer text, or a smaller "
                "calibration.length"
            )
        return each, check


def measure(
    model: Path,
    tokens: Tokens,
    kinds: Sequence[GGMLType],
    effort: Effort,
    *,
    imatrix: IMatrix | None,
    threads: int,
    folder: Path,
    text: str,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
) -> Sensitivity:
    """The sensitivity of the GGUF file ``model`` on windows ``tokens`` [n, n_ctx].

    Raises CheckpointError (the model), DataError (too little text).
    """
    with Swaps(model, threads=threads, folder=folder) as swaps, ThreadPoolExecutor(threads) as pool:
        outputs = [weighted(output, imatrix) for output in swaps.outputs]
        choices = {o.name: possible(o, kinds) for o in outputs}
        anchored = {
            output.name: anchors(quantized(output, choices[output.name]), effort.anchors)
            for output in outputs
        }
        count = sum(map(len, anchored.values()))
        each, check = effort.windows(count, len(tokens))
        chosen = np.random.default_rng(seed).permutation(len(tokens))[: each + check]
        swaps.start(tokens[chosen])
        measuring = _Measuring(swaps, pool, threads, count * each + _RUNGS * check, progress)
        tensors = {
            output.name: measuring.losses(
                output, choices[output.name], anchored[output.name], range(each)
            )
            for output in outputs
        }
        rungs = list(measuring.ladder(outputs, tensors, range(each, each + check)))
    return Sensitivity(tensors, rungs, text, (each + check) * tokens.shape[1])


class _Measuring:
    def __init__(
        self, swaps: Swaps, pool: ThreadPoolExecutor, threads: int, total: int, progress: Progress
    ) -> None:
        self.swaps, self.pool, self.threads = swaps, pool, threads
        self.total, self.done, self.progress = total, 0, progress

    def losses(
        self,
        output: OutputTensor,
        kinds: Sequence[GGMLType],
        anchored: Sequence[GGMLType],
        order: Sequence[int],
    ) -> TensorLosses:
        """The losses of a tensor: of the anchors measured, else from the error."""
        encoded = forms(output, kinds, self.pool, self.threads)
        errors = {kind: form.error for kind, form in encoded.items()}
        measured = {
            kind: float(self._kld({output.name: encoded[kind]}, order).mean()) for kind in anchored
        }
        klds = losses_of(errors, measured)
        types = {
            kind.name: InType(
                kind.tensor_bytes(output.shape), errors[kind], klds[kind], kind in measured
            )
            for kind in kinds
        }
        return TensorLosses(output.shape, types)

    def ladder(
        self,
        outputs: Sequence[OutputTensor],
        tensors: Mapping[str, TensorLosses],
        order: Sequence[int],
    ) -> Iterator[Rung]:
        """Measure whole mixes, from near the smallest to near the largest."""
        names = [output.name for output in outputs]
        groups = [
            [Option(one.bytes, one.kld) for one in tensors[name].types.values()] for name in names
        ]
        least = sum(min(option.size for option in group) for group in groups)
        most = sum(_most(tensors[output.name], output) for output in outputs)
        weights = sum(tensors[name].weights for name in names)
        for step in range(_RUNGS):
            share = (step + 0.5) / _RUNGS
            budget = least ** (1 - share) * most**share
            choice = dict(zip(names, allocate(groups, budget), strict=True))
            kinds = {name: [*tensors[name].types][at] for name, at in choice.items()}
            size = sum(tensors[name].types[kind].bytes for name, kind in kinds.items())
            expected = sum(tensors[name].types[kind].kld for name, kind in kinds.items())
            values = self._whole(outputs, kinds, order)
            half = student(len(values) - 1) * float(values.std(ddof=1)) / math.sqrt(len(values))
            yield Rung(8 * size / weights, expected, float(values.mean()), half)

    def _whole(
        self, outputs: Sequence[OutputTensor], kinds: Mapping[str, str], order: Sequence[int]
    ) -> Nll:
        swapped = {}
        for output in outputs:
            kind = GGMLType[kinds[output.name]]
            if kind != output.type:
                swapped[output.name] = forms(output, [kind], self.pool, self.threads)[kind]
        return self._kld(swapped, order)

    def _kld(self, swapped: Mapping[str, Encoded], order: Sequence[int]) -> Nll:
        values = self.swaps.kld(swapped, order)
        self.done += len(order)
        self.progress(self.done, self.total)
        return values


def _most(losses: TensorLosses, output: OutputTensor) -> int:
    """The bytes of the largest type that is not the tensor's own, where there is one."""
    sizes = [each.bytes for kind, each in losses.types.items() if kind != output.type.name]
    return max(sizes, default=output.nbytes)
