"""The chosen mix of a small menu beside exhaustive search, on stories260K.

With 5 groups of tensors every mix of 4 types is measured whole, on held-out text. With 12 groups
all 16,777,216 sums of measured losses are enumerated, and the best of them measured whole.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from bench.evaluating import TEXT, THREADS
from bench.measure import Bench, Row
from bench.mix_subject import Subject
from qpipe.gguf.chunks import OutputTensor
from qpipe.gguf.types import GGMLType
from qpipe.mix.allocation import Option, allocate
from qpipe.mix.forms import Encoded, forms, weighted
from qpipe.mix.swaps import Swaps
from qpipe.results.losses import place

TYPES = (GGMLType.IQ4_NL, GGMLType.Q5_0, GGMLType.Q5_1, GGMLType.Q8_0)
_FIVE = {
    "token_embd": "embeddings",
    **dict.fromkeys(("attn_q", "attn_k"), "queries and keys"),
    **dict.fromkeys(("attn_v", "attn_output"), "values and output"),
    **dict.fromkeys(("ffn_gate",), "gate"),
    **dict.fromkeys(("ffn_up",), "up"),
}
WINDOWS, BEST, SIZES = 12, 64, (0.25, 0.4, 0.55, 0.7)

Losses: TypeAlias = Sequence[Sequence[Option]]
Choice: TypeAlias = Sequence[int]
_Search: TypeAlias = Callable[[float], tuple[float, str]]
"""From a budget to the least KL divergence within it, and what was searched."""


def rows(bench: Bench) -> list[Row]:
    """The KL divergence of the chosen mix beside the least that there is."""
    subject = Subject.of("stories260K", bench.sub("mix-menu"))
    calibration = subject.windows()[:WINDOWS]
    held_out = subject.windows(TEXT)[:WINDOWS]
    with Swaps(subject.base, threads=THREADS, folder=subject.folder) as swaps:
        outputs = [weighted(output, subject.imatrix) for output in swaps.outputs]
        five, twelve = _Menu(outputs, _of_five), _Menu(outputs, _of_twelve)
        swaps.start(calibration)
        by_menu = [(menu, menu.losses(swaps)) for menu in (five, twelve)]
        swaps.start(held_out)
        return [
            row
            for (menu, losses), search in zip(by_menu, (_every, _best), strict=True)
            for row in _compared(menu, losses, search, swaps)
        ]


class _Menu:
    """Groups of tensors, each encoded in every type; the other tensors stay as they are."""

    def __init__(
        self, outputs: Sequence[OutputTensor], group_of: Callable[[str, int | None], str | None]
    ) -> None:
        self.groups: dict[str, dict[GGMLType, dict[str, Encoded]]] = {}
        with ThreadPoolExecutor(THREADS) as pool:
            for output in outputs:
                layer, kind = place(output.name)
                name = group_of(kind, layer)
                if name is None:
                    continue
                group = self.groups.setdefault(name, {each: {} for each in TYPES})
                for each, encoded in forms(output, TYPES, pool, THREADS).items():
                    group[each][output.name] = encoded

    def losses(self, swaps: Swaps) -> Losses:
        """Bytes of each group in each type, and what the model loses with it alone there."""
        return [
            [
                Option(
                    sum(one.data.nbytes for one in tensors.values()),
                    float(swaps.kld(tensors, range(WINDOWS)).mean()),
                )
                for tensors in group.values()
            ]
            for group in self.groups.values()
        ]

    def whole(self, choice: Choice, swaps: Swaps) -> float:
        """The KL divergence of a whole mix."""
        tensors: dict[str, Encoded] = {}
        for group, at in zip(self.groups.values(), choice, strict=True):
            tensors |= group[TYPES[at]]
        return float(swaps.kld(tensors, range(WINDOWS)).mean())


def _of_five(kind: str, layer: int | None) -> str | None:
    return _FIVE.get(kind)


def _of_twelve(kind: str, layer: int | None) -> str | None:
    if layer is None or kind == "ffn_down":
        return None
    return f"{kind}, {'first' if layer < 2 else 'last'} layers"


def _compared(
    menu: _Menu, losses: Losses, search: Callable[..., _Search], swaps: Swaps
) -> Iterator[Row]:
    count = len(losses)
    least = sum(group[0].size for group in losses)
    most = sum(group[-1].size for group in losses)
    every = search(menu, losses, swaps)
    for share in SIZES:
        budget = least + share * (most - least)
        choice = allocate(losses, budget)
        best, words = every(budget)
        yield Row(
            f"{len(TYPES)} types × {count} groups, {share:.0%} of the way to all Q8_0: kld",
            menu.whole(choice, swaps),
            "",
            words,
            best,
            limit=1.05,
        )


def _every(menu: _Menu, losses: Losses, swaps: Swaps) -> _Search:
    """Search all mixes, measured whole."""
    choices = [*itertools.product(range(len(TYPES)), repeat=len(losses))]
    sizes = np.array([_total(losses, choice, 0) for choice in choices])
    klds = np.array([menu.whole(choice, swaps) for choice in choices])
    return lambda budget: (
        float(klds[sizes <= budget].min()),
        f"best of {len(choices):,} measured whole",
    )


def _best(menu: _Menu, losses: Losses, swaps: Swaps) -> _Search:
    """Search all sums, and measure the ``BEST`` least of them whole."""
    sizes, sums = (_sums(losses, field) for field in (0, 1))

    def search(budget: float) -> tuple[float, str]:
        order = np.where(sizes <= budget, sums, np.inf)
        places = np.argpartition(order, BEST)[:BEST]
        assert np.isclose(order.min(), _total(losses, allocate(losses, budget), 1))
        choices = [np.unravel_index(at, (len(TYPES),) * len(losses)) for at in places]
        klds = [menu.whole([int(one) for one in choice], swaps) for choice in choices]
        return min(klds), f"best of the {BEST} least of {len(sums):,} sums"

    return search


def _sums(losses: Losses, field: int) -> npt.NDArray[np.float64]:
    """The sums of a field over all choices, in the order of itertools.product."""
    sums = np.zeros(1)
    for group in losses:
        sums = (sums[:, None] + np.array([option[field] for option in group])).ravel()
    return sums


def _total(losses: Losses, choice: Choice, field: int) -> float:
    return sum(group[at][field] for group, at in zip(losses, choice, strict=True))
