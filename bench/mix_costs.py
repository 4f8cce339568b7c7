"""What foretells the KL divergence of whole mixes best: ways to weigh the loss of each tensor.

Every tensor is measured in every type once, window by window; each way then sees a part of that.
Whole mixes are measured on held-out text: eight of the same bytes at each of three sizes, which a
way is to rank, and the mix that it would choose there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr  # type: ignore[import-untyped]

from bench.evaluating import THREADS
from bench.measure import Bench, Row
from bench.mix_subject import LEVELS, Subject
from qpipe.calibration.sensitivity import DEFAULTS
from qpipe.evaluators.text.interfaces import Nll
from qpipe.gguf.chunks import OutputTensor
from qpipe.gguf.quantize import read
from qpipe.gguf.types import GGMLType
from qpipe.mix.allocation import Option, allocate
from qpipe.mix.forms import Encoded, forms, possible, quantized, weighted
from qpipe.mix.losses import anchors, losses_of
from qpipe.mix.swaps import Swaps
from qpipe.results.losses import place

MODELS = ("stories260K", "tinystories-d256")
EACH, HELD_OUT, BESIDE = 16, 64, 8

Losses = Mapping[str, Mapping[GGMLType, float]]
Types = Mapping[str, GGMLType]


@dataclass(frozen=True)
class Everything:
    """Of each tensor in each type: its error, and its loss on each of so many windows."""

    outputs: Sequence[OutputTensor]
    errors: Losses
    klds: Mapping[str, Mapping[GGMLType, Nll]]

    def options(self, losses: Losses) -> list[list[Option]]:
        """What the allocation takes."""
        return [
            [Option(kind.tensor_bytes(o.shape), loss) for kind, loss in losses[o.name].items()]
            for o in self.outputs
        ]

    def choice(self, losses: Losses, budget: float) -> Types:
        """The types that lose least."""
        chosen = allocate(self.options(losses), budget)
        return {o.name: [*losses[o.name]][at] for o, at in zip(self.outputs, chosen, strict=True)}

    def anchored(self, count: int) -> tuple[Losses, int]:
        """What is built in qpipe, with so many anchors; and its windows."""
        losses, swaps = {}, 0
        for output in self.outputs:
            kinds = [*self.errors[output.name]]
            own = anchors(quantized(output, kinds), count)
            swaps += len(own)
            measured = {kind: float(self.klds[output.name][kind].mean()) for kind in own}
            losses[output.name] = losses_of(self.errors[output.name], measured)
        return losses, swaps * EACH

    def scaled(self) -> tuple[Losses, int]:
        """Errors weighted by the importance matrix, with a scale for each kind of tensor: measured
        in one type, on the first and the last layer."""
        scales = {}
        swaps = 0
        for kind, names in self._kinds().items():
            ratios = []
            for name in {names[0]: 0, names[-1]: 0}:
                (own,) = anchors([k for k in self.errors[name] if self.errors[name][k]], 1)
                ratios.append(float(self.klds[name][own].mean()) / self.errors[name][own])
                swaps += 1
            scales[kind] = math.exp(np.log(ratios).mean())
        losses = {
            name: {kind: scales.get(place(name)[1], 0.0) * e for kind, e in errors.items()}
            for name, errors in self.errors.items()
        }
        return losses, swaps * EACH

    def _kinds(self) -> dict[str, list[str]]:
        kinds: dict[str, list[str]] = {}
        for output in self.outputs:
            if any(self.errors[output.name].values()):
                kinds.setdefault(place(output.name)[1], []).append(output.name)
        return kinds


WAYS: Mapping[str, Callable[[Everything], tuple[Losses, int]]] = {
    "each type measured": lambda everything: everything.anchored(99),
    "three anchors": lambda everything: everything.anchored(3),
    "two anchors": lambda everything: everything.anchored(2),
    "one anchor": lambda everything: everything.anchored(1),
    "errors, a scale a kind": Everything.scaled,
}


def rows(bench: Bench) -> list[Row]:
    """Of each way the windows that it takes, how it ranks mixes of the same bytes, and the KL
    divergence of those it chooses, beside that of measuring each type."""
    return [
        row
        for name in MODELS
        for row in _of_model(Subject.of(name, bench.sub(f"mix-costs-{name}")))
    ]


def _of_model(subject: Subject) -> Iterator[Row]:
    everything = _measured(subject)
    ways = {name: way(everything) for name, way in WAYS.items()}
    whole = _Whole(subject, everything)
    with whole.swaps:
        budgets = {level: _bytes(subject, level, everything) for level in LEVELS}
        first = next(iter(ways.values()))[0]
        beside = {
            level: [(types, whole.kld(types)) for types in _around(everything, first, budget)]
            for level, budget in budgets.items()
        }
        best: dict[str, float] = {}
        for name, (losses, windows) in ways.items():
            what = f"{subject.name}, {name}"
            yield Row(f"{what}: windows", windows, "")
            ranks = [_rank(losses, mixes) for mixes in beside.values()]
            yield Row(f"{what}: rank correlation", float(np.mean(ranks)), "")
            for level, budget in budgets.items():
                kld = whole.kld(everything.choice(losses, budget))
                best.setdefault(level, kld)
                yield Row(
                    f"{what}: kld at the bytes of {level}", kld, "", next(iter(WAYS)), best[level]
                )


def _measured(subject: Subject) -> Everything:
    errors, klds = {}, {}
    windows = subject.windows()
    chosen = np.random.default_rng(0).permutation(len(windows))[:EACH]
    kinds = [GGMLType[name] for name in DEFAULTS]
    with (
        Swaps(subject.base, threads=THREADS, folder=subject.folder) as swaps,
        ThreadPoolExecutor(THREADS) as pool,
    ):
        swaps.start(windows[chosen])
        outputs = [weighted(output, subject.imatrix) for output in swaps.outputs]
        for output in outputs:
            encoded = forms(output, possible(output, kinds), pool, THREADS)
            errors[output.name] = {kind: each.error for kind, each in encoded.items()}
            klds[output.name] = {
                kind: swaps.kld({output.name: encoded[kind]}, range(EACH))
                for kind in quantized(output, [*encoded])
            }
    return Everything(outputs, errors, klds)


class _Whole:
    """Whole mixes on held-out windows, in the loaded model: their files have just the same."""

    def __init__(self, subject: Subject, everything: Everything) -> None:
        from bench.evaluating import TEXT

        self.everything = everything
        self.swaps = Swaps(subject.base, threads=THREADS, folder=subject.folder)
        self.swaps.start(subject.windows(TEXT)[:HELD_OUT])

    def kld(self, types: Types) -> float:
        """The mean KL divergence."""
        encoded: dict[str, Encoded] = {}
        with ThreadPoolExecutor(THREADS) as pool:
            for output in self.everything.outputs:
                kind = types[output.name]
                if kind != output.type:
                    encoded[output.name] = forms(output, [kind], pool, THREADS)[kind]
        return float(self.swaps.kld(encoded, range(HELD_OUT)).mean())


def _bytes(subject: Subject, level: str, everything: Everything) -> int:
    names = {output.name for output in everything.outputs}
    return sum(o.nbytes for o in read(subject.level(level)).outputs if o.name in names)


def _around(everything: Everything, losses: Losses, budget: float) -> Iterator[Types]:
    """Mixes of the same bytes: the best by losses that are off by some random factor."""
    rng = np.random.default_rng(0)
    for _ in range(BESIDE):
        off = {name: float(rng.lognormal(0, 1)) for name in losses}
        yield everything.choice(
            {
                name: {kind: off[name] * loss for kind, loss in each.items()}
                for name, each in losses.items()
            },
            budget,
        )


def _rank(losses: Losses, mixes: Sequence[tuple[Types, float]]) -> float:
    expected = [sum(losses[name][kind] for name, kind in types.items()) for types, _ in mixes]
    return float(spearmanr(expected, [kld for _, kld in mixes]).statistic)
