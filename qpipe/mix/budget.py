"""One form of each group of matrices, within the bounds of a target: whatever forms there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from qpipe.errors import RecipeError
from qpipe.memory import MemoryParts
from qpipe.mix.allocation import NoChoiceError, Option, allocate
from qpipe.mix.running import Running
from qpipe.mix.target import MixTarget

# The search for the smallest mix within a KL divergence ends here: no step of a form is as small.
_STEP = 1e-9

Whole = Callable[[float], tuple[float, float]]
"""Gives, of the sum of losses, the KL divergence of the whole and half its 95 % interval."""


@dataclass(frozen=True)
class FormCost:
    """A way to store a group: its bytes in the file, padding included, those of its tensors, and
    what is lost with it."""

    file_bytes: int
    tensor_bytes: int
    loss: float


@dataclass(frozen=True)
class Surroundings:
    """The parts that no mix changes: ``overhead`` bytes of the file around the groups, bytes of the
    other tensors by name, and the weights of all; ``running`` is what memory is asked for.

    ``settings`` say in which setting of a recipe more forms can be named.
    """

    overhead: int
    others: Mapping[str, int]
    weights: int
    running: Running | None = None
    settings: str = "stages.sensitivity.with.types"


@dataclass(frozen=True)
class MixChoice:
    """The forms by group, the bytes of the file with them, and the KL divergence that is expected
    of it, or ``measured`` in it, ± ``half``, a 95 % interval; ``memory`` where a target asks for
    that."""

    forms: Mapping[str, str]
    file_bytes: int
    bits_per_weight: float
    kld: float
    half: float
    memory: MemoryParts | None = None
    measured: bool = False

    @property
    def upper(self) -> float:
        """The end of the interval of the divergence."""
        return self.kld + self.half

    @property
    def words(self) -> str:
        """It in a few words: its bytes, bits per weight, memory and divergence."""
        memory = "" if self.memory is None else f"{self.memory.total:,} bytes of memory, "
        return (
            f"{self.file_bytes:,} bytes ({self.bits_per_weight:.2f} bits per weight, {memory}"
            f"kld about {self.kld:.3g} ± {self.half:.1g})"
        )


class _Bound(NamedTuple):
    """A bound in ``words``, and what it, the smallest choice and the largest come to."""

    words: str
    allowed: float
    least: float
    most: float


_Counted = Callable[[str, FormCost], int]


class Budget:
    """The choices for a target among ``groups`` of forms, by the names of both."""

    def __init__(
        self, groups: Mapping[str, Mapping[str, FormCost]], around: Surroundings, whole: Whole
    ) -> None:
        self.groups, self.around, self.whole = groups, around, whole
        running = around.running
        self._loaded = (
            frozenset[str]() if running is None else running.loaded([*groups, *around.others])
        )

    def choose(self, target: MixTarget) -> MixChoice:
        """The forms that lose least within a target; with a bound on the divergence the smallest.

        Raises RecipeError, naming the smallest and the largest, for a target outside of them, and
        for bounds that none keeps together.
        """
        smallest, largest = self.smallest, self.largest
        bounds = self._bounds(target, smallest, largest)
        for bound in bounds:
            if bound.allowed < bound.least:
                raise self.outside(target, bound.words, smallest, largest)
        if target.kld is None:
            if all(bound.allowed > bound.most for bound in bounds):
                raise self.outside(target, bounds[0].words, smallest, largest)
            return self._within(target)
        if not largest.upper <= target.kld <= smallest.upper:
            raise self.outside(target, f"kld {target.kld:g}", smallest, largest)
        choice = self.smallest_within(target.kld)
        self.require_others(target, choice)
        return choice

    def require_others(self, target: MixTarget, choice: MixChoice) -> None:
        """Raise RecipeError for a choice that keeps the divergence, and not the other bounds."""
        for bound in self._bounds(target, choice, choice):
            if bound.least > bound.allowed:
                raise RecipeError(
                    f"quantize.target: {target.words} contradict each other: kld {target.kld:g} "
                    f"takes {choice.words}, and {bound.words} is less; leave one out"
                )

    def outside(
        self, target: MixTarget, asked: str, smallest: MixChoice, largest: MixChoice
    ) -> RecipeError:
        """The error for a bound that is outside of all mixes."""
        return RecipeError(
            f"quantize.target: {target.words}: no mix keeps {asked} and uses it: the smallest is "
            f"{smallest.words}, the largest {largest.words}; ask for something between, or change "
            f"what there is to choose from ({self.around.settings})"
        )

    def smallest_within(self, kld: float) -> MixChoice:
        """The smallest choice whose interval ends within a divergence. Raises RecipeError."""
        low, high = 0.0, sum(max(f.loss for f in group.values()) for group in self.groups.values())
        if sum(self.whole(high)) <= kld:
            return self.smallest
        while high - low > _STEP * max(high, 1.0):
            middle = (low + high) / 2
            if sum(self.whole(middle)) <= kld:
                low = middle
            else:
                high = middle
        exchanged = [
            [Option(form.loss, form.file_bytes) for form in group.values()]
            for group in self.groups.values()
        ]
        try:
            return self._of(allocate(exchanged, low))
        except NoChoiceError as error:
            least, half = self.whole(error.least)
            raise RecipeError(
                f"quantize.target: kld {kld:g}: the mix that loses least is expected to lose "
                f"{least:.3g} ± {half:.1g}; ask for the upper end of that or more"
            ) from None

    def _bounds(self, target: MixTarget, smallest: MixChoice, largest: MixChoice) -> list[_Bound]:
        """The bounds but that on the divergence. Raises RecipeError where weights have no room."""
        bounds = []
        if target.size is not None:
            sizes = smallest.file_bytes, largest.file_bytes
            bounds.append(_Bound(f"{target.size:,} bytes", target.size, *sizes))
        if target.bpw is not None:
            bits = smallest.bits_per_weight, largest.bits_per_weight
            bounds.append(_Bound(f"{target.bpw:g} bits per weight", target.bpw, *bits))
        running = self.around.running
        if running is not None and smallest.memory is not None and largest.memory is not None:
            running.require_room()
            words = f"{running.most:,} bytes of memory at {running.setting.context:,} tokens"
            taken = smallest.memory.total, largest.memory.total
            bounds.append(_Bound(words, running.most, *taken))
        return bounds

    def _room(self, target: MixTarget) -> tuple[float, _Counted]:
        """The bytes that the groups may take, and how each form counts."""
        rooms, running = [], self.around.running
        if target.bpw is not None:
            others = sum(self.around.others.values())
            rooms.append(int(target.bpw * self.around.weights / 8) - others)
        if running is not None:
            loaded = sum(n for name, n in self.around.others.items() if name in self._loaded)
            rooms.append(running.most - running.around.total - loaded)
            if target.size is None and target.bpw is None:
                return rooms[0], self._in_memory
        if target.size is None:
            return min(rooms), lambda name, form: form.tensor_bytes
        # All that is in the file counts for each then, and each is kept all the more.
        rooms.append(target.size - self.around.overhead)
        return min(rooms), lambda name, form: form.file_bytes

    def _in_memory(self, name: str, form: FormCost) -> int:
        return form.tensor_bytes if name in self._loaded else 0

    def _within(self, target: MixTarget) -> MixChoice:
        room, counted = self._room(target)
        options = [
            [Option(counted(name, form), form.loss) for form in group.values()]
            for name, group in self.groups.items()
        ]
        try:
            return self._of(allocate(options, room))
        except NoChoiceError as error:
            raise RecipeError(
                f"quantize.target: {target.words}: together they leave {room:,.0f} bytes for what "
                f"takes {error.least:,.0f} at least; leave one out"
            ) from None

    @property
    def smallest(self) -> MixChoice:
        """The smallest choice."""
        return self._extreme(min)

    @property
    def largest(self) -> MixChoice:
        """The largest choice."""
        return self._extreme(max)

    def _extreme(self, pick: Callable[[Sequence[int]], int]) -> MixChoice:
        places = []
        for group in self.groups.values():
            sizes = [form.file_bytes for form in group.values()]
            places.append(sizes.index(pick(sizes)))
        return self._of(places)

    def _of(self, places: Sequence[int]) -> MixChoice:
        groups = zip(self.groups.items(), places, strict=True)
        return self.of_forms({name: [*group][at] for (name, group), at in groups})

    def of_forms(self, names: Mapping[str, str]) -> MixChoice:
        """The choice of the forms by group."""
        forms = {name: self.groups[name][form] for name, form in names.items()}
        sizes = {name: form.tensor_bytes for name, form in forms.items()}
        tensors = {**self.around.others, **sizes}
        running = self.around.running
        kld, half = self.whole(sum(form.loss for form in forms.values()))
        return MixChoice(
            names,
            self.around.overhead + sum(form.file_bytes for form in forms.values()),
            8 * sum(tensors.values()) / self.around.weights,
            kld,
            half,
            None if running is None else running.parts(tensors),
        )
